//! The keys and values of a sequence, in pages.

use cudarc::driver::CudaSlice;
use half::f16;
use llm_kernels::attention::{BlockTable, decode, scales_layout};
use llm_kernels::{DType, Element, Layout, Queue, TensorView, TensorViewMut};

use crate::Result;
use crate::options::KvFormat;
use crate::sizes::Sizes;

/// Positions of a page.
pub(crate) const PAGE_SIZE: usize = 64;

/// The cache of one sequence; all layers share a table of pages.
pub(crate) struct Cache {
    pub(crate) table: BlockTable<'static>,
    layers: Vec<(Store, Store)>,
    shape: [usize; 4],
    dtype: DType,
}

/// Keys or values of a layer.
struct Store {
    /// `[num_pages, PAGE_SIZE, h_kv, head_dim]` of the cache's type.
    bytes: CudaSlice<u8>,
    /// A factor for each position and head, of 8-bit types.
    scales: Option<CudaSlice<f32>>,
}

/// What operators see of a layer's keys, or values.
pub(crate) struct StoreView<'a> {
    pub(crate) data: TensorView<'a>,
    pub(crate) scales: Option<TensorView<'a>>,
}

/// The same, to be written.
pub(crate) struct StoreViewMut<'a> {
    pub(crate) data: TensorViewMut<'a>,
    pub(crate) scales: Option<TensorViewMut<'a>>,
}

impl Cache {
    /// Room for `capacity` positions. Pages are dealt out from the last to the first: nothing may depend on their order.
    pub(crate) fn new(queue: &Queue, sizes: &Sizes, capacity: usize, format: Option<KvFormat>) -> Result<Self> {
        let num_pages = capacity.div_ceil(PAGE_SIZE);
        let dtype = match format {
            None => f16::DTYPE,
            Some(KvFormat::Int8) => DType::I8,
            Some(KvFormat::Fp8) => DType::E4M3,
        };
        let shape = [num_pages, PAGE_SIZE, sizes.h_kv, sizes.head_dim];
        let elements: usize = shape.iter().product();
        let stream = queue.stream();
        let store = || -> Result<Store> {
            let scales = format.map(|_| stream.alloc_zeros(elements / sizes.head_dim)).transpose()?;
            Ok(Store { bytes: stream.alloc_zeros(elements * dtype.size_bytes())?, scales })
        };
        let layers = (0..sizes.layers).map(|_| Ok((store()?, store()?))).collect::<Result<_>>()?;
        let pages: Vec<i32> = (0..num_pages as i32).rev().collect();
        Ok(Self { table: BlockTable::new(queue, &[pages], num_pages, num_pages)?, layers, shape, dtype })
    }

    /// The attention of one new token over it.
    pub(crate) fn problem(&self, sizes: &Sizes, options: &decode::Options) -> Result<decode::Problem> {
        let [num_pages, page_size, h_kv, d] = self.shape;
        let shape = decode::Shape { b: 1, s_q: 1, h_q: sizes.h_q, h_kv, d, num_pages, page_size };
        Ok(decode::Problem::new(f16::DTYPE, self.dtype, shape, Some(num_pages), options)?)
    }

    /// Keys and values of a layer.
    pub(crate) fn layer(&self, layer: usize) -> Result<(StoreView<'_>, StoreView<'_>)> {
        let (layout, scales_layout) = (Layout::contiguous(&self.shape)?, self.scales_layout()?);
        let (k, v) = &self.layers[layer];
        let [k, v] = [k, v].map(|Store { bytes, scales }| -> Result<StoreView> {
            let scales = scales.as_ref().map(|scales| TensorView::new(scales, scales_layout)).transpose()?;
            Ok(StoreView { data: TensorView::of_bytes(bytes, self.dtype, layout)?, scales })
        });
        Ok((k?, v?))
    }

    /// The same, to be written, and the table.
    pub(crate) fn layer_mut(
        &mut self,
        layer: usize,
    ) -> Result<(StoreViewMut<'_>, StoreViewMut<'_>, &BlockTable<'static>)> {
        let (dtype, layout, scales_layout) = (self.dtype, Layout::contiguous(&self.shape)?, self.scales_layout()?);
        let (k, v) = &mut self.layers[layer];
        let [k, v] = [k, v].map(|Store { bytes, scales }| -> Result<StoreViewMut> {
            let scales = scales.as_mut().map(|scales| TensorViewMut::new(scales, scales_layout)).transpose()?;
            Ok(StoreViewMut { data: TensorViewMut::of_bytes(bytes, dtype, layout)?, scales })
        });
        Ok((k?, v?, &self.table))
    }

    /// `[num_pages, PAGE_SIZE, h_kv]`
    fn scales_layout(&self) -> Result<Layout> {
        let [num_pages, page_size, h_kv, _] = self.shape;
        Ok(scales_layout(num_pages, page_size, h_kv)?)
    }
}
