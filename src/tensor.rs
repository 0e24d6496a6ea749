//! Views of tensors in device memory: memory of the caller, a checked layout, nothing owned.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice, SyncOnDrop};

use crate::{DType, Element, Error, Layout, Queue, Result};

/// Device memory that can be read: [`CudaSlice`] and [`CudaView`].
pub trait Buffer<T> {
    /// The memory as bytes.
    fn bytes(&self) -> CudaView<'_, u8>;
    /// The number of elements.
    fn elements(&self) -> usize;
    /// Where it lives.
    fn context(&self) -> &Arc<CudaContext>;
}

/// Device memory that can be written: [`CudaSlice`] and [`CudaViewMut`].
pub trait BufferMut<T> {
    /// The memory as bytes.
    fn bytes_mut(&mut self) -> CudaViewMut<'_, u8>;
    /// The number of elements.
    fn elements(&self) -> usize;
    /// Where it lives.
    fn context(&self) -> &Arc<CudaContext>;
}

// The transmutes below are from a type to bytes of the same number: they always fit.
macro_rules! buffer {
    ($trait:ident, $type:ty, $method:ident, $view:ident, $transmute:ident $(, $mutability:tt)?) => {
        impl<T: Element> $trait<T> for $type {
            fn $method(&$($mutability)? self) -> $view<'_, u8> {
                let bytes = DeviceSlice::num_bytes(self);
                // SAFETY: an `Element` is plain data; every byte of it is a valid `u8`.
                match unsafe { self.$transmute(bytes) } {
                    Some(view) => view,
                    None => unreachable!("as many bytes as there are"),
                }
            }
            fn elements(&self) -> usize {
                DeviceSlice::len(self)
            }
            fn context(&self) -> &Arc<CudaContext> {
                DeviceSlice::stream(self).context()
            }
        }
    };
}

buffer!(Buffer, CudaSlice<T>, bytes, CudaView, transmute);
buffer!(Buffer, CudaView<'_, T>, bytes, CudaView, transmute);
buffer!(BufferMut, CudaSlice<T>, bytes_mut, CudaViewMut, transmute_mut, mut);
buffer!(BufferMut, CudaViewMut<'_, T>, bytes_mut, CudaViewMut, transmute_mut, mut);

/// What a kernel sees of a tensor: pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Address of the first element; 0 for a tensor without memory.
    pub address: u64,
    /// Element type.
    pub dtype: DType,
    /// Shape and strides.
    pub layout: Layout,
}

/// A tensor to be read.
#[derive(Debug)]
pub struct TensorView<'a> {
    memory: Option<CudaView<'a, u8>>,
    inner: Inner,
}

/// A tensor to be written.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    memory: Option<CudaViewMut<'a, u8>>,
    inner: Inner,
}

#[derive(Clone, Debug)]
struct Inner {
    /// Added to the memory's start: an address when there is no memory to add it to.
    offset_bytes: u64,
    dtype: DType,
    layout: Layout,
    context: Arc<CudaContext>,
}

impl Inner {
    fn checked(elements: usize, context: &Arc<CudaContext>, dtype: DType, layout: Layout) -> Result<Self> {
        if layout.span() > elements {
            return Err(Error::OutOfBounds {
                shape: layout.shape().to_vec(),
                strides: layout.strides().to_vec(),
                needed: layout.span(),
                available: elements,
            });
        }
        Ok(Self { offset_bytes: 0, dtype, layout, context: context.clone() })
    }

    fn narrow(mut self, dim: usize, start: usize, size: usize) -> Result<Self> {
        let (layout, offset) = self.layout.narrow(dim, start, size)?;
        self.layout = layout;
        self.offset_bytes += (offset * self.dtype.size_bytes()) as u64;
        Ok(self)
    }

    fn on(&self, op: &'static str, argument: &'static str, queue: &Queue) -> Result<()> {
        let expected = queue.device().context();
        if self.context == *expected {
            return Ok(());
        }
        let name = |context: &CudaContext| format!("device {}, {:p}", context.ordinal(), context.cu_ctx());
        Err(Error::WrongDevice { op, argument, got: name(&self.context), expected: name(expected) })
    }

    fn operand(&self, start: u64) -> Operand {
        Operand { address: start + self.offset_bytes, dtype: self.dtype, layout: self.layout }
    }
}

macro_rules! common {
    () => {
        /// The element type.
        pub fn dtype(&self) -> DType {
            self.inner.dtype
        }

        /// Shape and strides.
        pub fn layout(&self) -> &Layout {
            &self.inner.layout
        }

        /// A tensor without elements, which needs no memory. An error if the shape has elements.
        pub fn empty(context: &Arc<CudaContext>, dtype: DType, shape: &[usize]) -> Result<Self> {
            let layout = Layout::contiguous(shape)?;
            if !layout.is_empty() {
                let (shape, strides) = (layout.shape().to_vec(), layout.strides().to_vec());
                return Err(Error::OutOfBounds { shape, strides, needed: layout.span(), available: 0 });
            }
            let inner = Inner { offset_bytes: 0, dtype, layout, context: context.clone() };
            Ok(Self { memory: None, inner })
        }

        /// A tensor at an address, for memory that cudarc does not manage.
        ///
        /// # Safety
        /// All elements that the layout reaches from `address` on must be memory of `context`, of this type, alive
        /// until the work that uses the view has ended, and (for a view to be written) used by nothing else until
        /// then. The queue waits for no earlier use of it: order is the caller's.
        pub unsafe fn from_raw(context: &Arc<CudaContext>, address: u64, dtype: DType, layout: Layout) -> Self {
            Self { memory: None, inner: Inner { offset_bytes: address, dtype, layout, context: context.clone() } }
        }

        /// The same elements with dimensions in another order: dimension `dim` of the result is `order[dim]`.
        pub fn permute(mut self, order: &[usize]) -> Result<Self> {
            self.inner.layout = self.inner.layout.permute(order)?;
            Ok(self)
        }

        /// Elements `start .. start + size` of dimension `dim`.
        pub fn narrow(mut self, dim: usize, start: usize, size: usize) -> Result<Self> {
            self.inner = self.inner.narrow(dim, start, size)?;
            Ok(self)
        }
    };
}

impl<'a> TensorView<'a> {
    /// A view of a buffer with any layout that stays inside it.
    pub fn new<T: Element>(buffer: &'a impl Buffer<T>, layout: Layout) -> Result<Self> {
        let inner = Inner::checked(buffer.elements(), buffer.context(), T::DTYPE, layout)?;
        Ok(Self { memory: Some(buffer.bytes()), inner })
    }

    /// A view of a buffer's first elements in row-major order.
    pub fn contiguous<T: Element>(buffer: &'a impl Buffer<T>, shape: &[usize]) -> Result<Self> {
        Self::new(buffer, Layout::contiguous(shape)?)
    }

    /// A view of untyped memory as elements of any type.
    pub fn of_bytes(buffer: &'a impl Buffer<u8>, dtype: DType, layout: Layout) -> Result<Self> {
        let elements = buffer.elements() / dtype.size_bytes();
        let inner = Inner::checked(elements, buffer.context(), dtype, layout)?;
        Ok(Self { memory: Some(buffer.bytes()), inner })
    }

    common!();

    /// Makes the tensor readable on a queue: the queue waits for earlier writes, and later writes wait for the
    /// returned guard, which is to be dropped after the launch.
    pub(crate) fn open<'b>(
        &'b self,
        op: &'static str,
        argument: &'static str,
        queue: &'b Queue,
    ) -> Result<(Operand, Option<SyncOnDrop<'b>>)> {
        self.inner.on(op, argument, queue)?;
        let (start, guard) = self.memory.as_ref().map(|memory| memory.device_ptr(queue.stream())).unzip();
        Ok((self.inner.operand(start.unwrap_or(0)), guard))
    }
}

impl TensorView<'_> {
    /// The elements of an i32 tensor that has its memory from cudarc, or from [`TensorView::from_raw`], as they lie in memory:
    /// with what is between them.
    pub(crate) fn read_i32(&self, queue: &Queue) -> Result<Vec<i32>> {
        let (operand, _guard) = self.open("read", "tensor", queue)?;
        let mut values = vec![0_i32; operand.layout.span()];
        // SAFETY: the view's elements are readable memory of the queue's context, as many as are copied.
        let copied = unsafe {
            cudarc::driver::result::memcpy_dtoh_async(&mut values, operand.address, queue.stream().cu_stream())
        };
        copied.map_err(|error| Error::driver("read", error))?;
        queue.stream().synchronize().map_err(|error| Error::driver("read", error))?;
        Ok(values)
    }
}

impl<'a> TensorViewMut<'a> {
    /// A view of a buffer with any layout that stays inside it.
    pub fn new<T: Element>(buffer: &'a mut impl BufferMut<T>, layout: Layout) -> Result<Self> {
        let inner = Inner::checked(buffer.elements(), buffer.context(), T::DTYPE, layout)?;
        Ok(Self { memory: Some(buffer.bytes_mut()), inner })
    }

    /// A view of a buffer's first elements in row-major order.
    pub fn contiguous<T: Element>(buffer: &'a mut impl BufferMut<T>, shape: &[usize]) -> Result<Self> {
        Self::new(buffer, Layout::contiguous(shape)?)
    }

    /// A view of untyped memory as elements of any type.
    pub fn of_bytes(buffer: &'a mut impl BufferMut<u8>, dtype: DType, layout: Layout) -> Result<Self> {
        let elements = buffer.elements() / dtype.size_bytes();
        let inner = Inner::checked(elements, buffer.context(), dtype, layout)?;
        Ok(Self { memory: Some(buffer.bytes_mut()), inner })
    }

    common!();

    /// Makes the tensor writable on a queue; see [`TensorView::open`].
    pub(crate) fn open<'b>(
        &'b mut self,
        op: &'static str,
        argument: &'static str,
        queue: &'b Queue,
    ) -> Result<(Operand, Option<SyncOnDrop<'b>>)> {
        self.inner.on(op, argument, queue)?;
        let (start, guard) = self.memory.as_mut().map(|memory| memory.device_ptr_mut(queue.stream())).unzip();
        Ok((self.inner.operand(start.unwrap_or(0)), guard))
    }
}
