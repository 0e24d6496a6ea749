//! Tensors in host memory, and their way to the device and back.

use cudarc::driver::CudaSlice;
#[cfg(feature = "software")]
use cudarc::driver::DevicePtr;
use half::{bf16, f16};

use crate::{DType, E4M3, Element, Error, Layout, Queue, Result, TensorView, TensorViewMut};

/// A tensor in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// The elements, little-endian.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// A tensor of numbers, rounded to an element type.
    pub fn from_f64(name: &str, dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let bytes = match dtype {
            DType::F16 => bytes(values.iter().map(|&x| f16::from_f64(x).to_le_bytes())),
            DType::BF16 => bytes(values.iter().map(|&x| bf16::from_f64(x).to_le_bytes())),
            DType::F32 => bytes(values.iter().map(|&x| (x as f32).to_le_bytes())),
            DType::I32 => bytes(values.iter().map(|&x| (x as i32).to_le_bytes())),
            DType::U32 => bytes(values.iter().map(|&x| (x as u32).to_le_bytes())),
            DType::I64 => bytes(values.iter().map(|&x| (x as i64).to_le_bytes())),
            DType::U8 => bytes(values.iter().map(|&x| (x as u8).to_le_bytes())),
            DType::I8 => bytes(values.iter().map(|&x| (x as i8).to_le_bytes())),
            DType::E4M3 => bytes(values.iter().map(|&x| [E4M3::from_f64(x).0])),
        };
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }

    /// A tensor of values.
    pub fn from_slice<T: Element>(name: &str, shape: &[usize], values: &[T]) -> Self {
        let bytes = bytemuck::cast_slice(values).to_vec();
        Self { name: name.to_owned(), dtype: T::DTYPE, shape: shape.to_vec(), bytes }
    }

    /// The elements as numbers.
    pub fn to_f64(&self) -> Vec<f64> {
        let bytes = &self.bytes;
        match self.dtype {
            DType::F16 => numbers(bytes, |x| f16::from_le_bytes(x).to_f64()),
            DType::BF16 => numbers(bytes, |x| bf16::from_le_bytes(x).to_f64()),
            DType::F32 => numbers(bytes, |x| f32::from_le_bytes(x).into()),
            DType::I32 => numbers(bytes, |x| i32::from_le_bytes(x).into()),
            DType::U32 => numbers(bytes, |x| u32::from_le_bytes(x).into()),
            DType::I64 => numbers(bytes, |x| i64::from_le_bytes(x) as f64),
            DType::U8 => numbers(bytes, |[x]| x.into()),
            DType::I8 => numbers(bytes, |x| i8::from_le_bytes(x).into()),
            DType::E4M3 => numbers(bytes, |[x]| E4M3(x).to_f64()),
        }
    }

    /// Copies the tensor to the device.
    pub fn upload(&self, queue: &Queue) -> Result<DeviceTensor> {
        let mut device = DeviceTensor::poisoned(queue, self.dtype, Layout::contiguous(&self.shape)?)?;
        device.write(queue, &self.bytes)?;
        Ok(device)
    }
}

/// To the checks of the software device poison is no data: reading it is a fault.
fn forget_written(queue: &Queue, memory: &CudaSlice<u8>) -> Result<()> {
    let _ = (queue, memory);
    #[cfg(feature = "software")]
    if queue.device().is_software() {
        // The poison must have arrived.
        queue.synchronize()?;
        crate::software::forget_written(memory.device_ptr(queue.stream()).0, memory.len());
    }
    Ok(())
}

fn bytes<const BYTES: usize>(values: impl Iterator<Item = [u8; BYTES]>) -> Vec<u8> {
    values.flatten().collect()
}

fn numbers<const BYTES: usize>(bytes: &[u8], convert: impl Fn([u8; BYTES]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<BYTES>().0.iter().map(|&chunk| convert(chunk)).collect()
}

/// A tensor that owns device memory; gaps between its elements belong to it.
#[derive(Debug)]
pub struct DeviceTensor {
    memory: CudaSlice<u8>,
    dtype: DType,
    layout: Layout,
}

impl DeviceTensor {
    /// A tensor with all bytes, gaps too, 0xFF: NaN in every floating-point type, absurd as an index.
    pub fn poisoned(queue: &Queue, dtype: DType, layout: Layout) -> Result<Self> {
        // No empty allocations: the driver refuses them.
        let poison = vec![0xFF_u8; (layout.span() * dtype.size_bytes()).max(1)];
        let memory = queue.stream().clone_htod(&poison).map_err(|error| Error::driver("upload", error))?;
        forget_written(queue, &memory)?;
        Ok(Self { memory, dtype, layout })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// To be read.
    pub fn view(&self) -> Result<TensorView<'_>> {
        TensorView::of_bytes(&self.memory, self.dtype, self.layout)
    }

    /// To be written.
    pub fn view_mut(&mut self) -> Result<TensorViewMut<'_>> {
        TensorViewMut::of_bytes(&mut self.memory, self.dtype, self.layout)
    }

    /// Writes row-major elements to where the layout has them; gaps keep what they hold.
    pub fn write(&mut self, queue: &Queue, elements: &[u8]) -> Result<()> {
        if self.layout == Layout::contiguous(self.layout.shape())? && elements.len() == self.memory.len() {
            return queue
                .stream()
                .memcpy_htod(elements, &mut self.memory)
                .map_err(|error| Error::driver("upload", error));
        }
        let mut image = self.image(queue)?;
        let size = self.dtype.size_bytes();
        for (element, offset) in elements.chunks_exact(size).zip(offsets(&self.layout)) {
            image[offset * size..][..size].copy_from_slice(element);
        }
        queue.stream().memcpy_htod(&image, &mut self.memory).map_err(|error| Error::driver("upload", error))
    }

    /// Copies the elements back, row-major.
    pub fn download(&self, queue: &Queue, name: &str) -> Result<HostTensor> {
        let image = self.image(queue)?;
        let size = self.dtype.size_bytes();
        let bytes = offsets(&self.layout).flat_map(|offset| &image[offset * size..][..size]).copied().collect();
        Ok(HostTensor { name: name.to_owned(), dtype: self.dtype, shape: self.layout.shape().to_vec(), bytes })
    }

    /// All bytes, gaps too, as they lie in memory.
    pub fn image(&self, queue: &Queue) -> Result<Vec<u8>> {
        let image = queue.stream().clone_dtoh(&self.memory).map_err(|error| Error::driver("download", error))?;
        queue.synchronize()?;
        Ok(image)
    }
}

/// The offsets of the elements in row-major order of their indices.
pub(crate) fn offsets(layout: &Layout) -> impl Iterator<Item = usize> {
    let (shape, strides) = (layout.shape().to_vec(), layout.strides().to_vec());
    (0..layout.len()).map(move |mut index| {
        let mut offset = 0;
        for (&size, &stride) in shape.iter().zip(&strides).rev() {
            offset += index % size * stride;
            index /= size;
        }
        offset
    })
}
