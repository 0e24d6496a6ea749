//! The layout of block-sparse attention, in device memory.

use cudarc::driver::CudaSlice;

use super::{Pattern, TileGrid, TileMask};
use crate::{DType, Error, Queue, Result, TensorView};

/// Which tiles of keys each tile of queries visits, for each head, and which elements of each: in device memory, and,
/// if it was made from host data, known to be right. Heads share patterns: dense, windowed and random heads may stand
/// beside each other.
///
/// Places count from the start of a sequence. Of sequences of various lengths each sees the upper left part of the same
/// layout.
///
/// In memory, i32 words, one after the other:
///
/// ```text
/// bands    [bands, 4]                        diagonal, left, right (-1: no limit), 0
/// heads    [heads]                           each head's pattern; a single one serves all heads
/// offsets  [patterns, query_tiles + 1]       where a row's tiles begin and end among all tiles
/// tiles    [tiles]                           tile of keys * 2, and 1 if its mask is not 0
/// masks    [tiles]                           0: all; m > 0: bits m - 1; m < 0: band -m - 1
/// bits     [masks, tile_q, tile_k / 32]      key j is bit j % 32 of word j / 32
/// ```
///
/// Kernels clamp what they read from it: words that changed on the device give wrong results, and never an access outside
/// the tensors.
#[derive(Debug)]
pub struct BlockLayout<'a> {
    memory: Memory<'a>,
    grid: TileGrid,
    sizes: LayoutSizes,
    host: Option<(Vec<Pattern>, Vec<usize>)>,
}

#[derive(Debug)]
enum Memory<'a> {
    Owned(CudaSlice<i32>),
    View(TensorView<'a>),
}

/// Numbers of the parts of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutSizes {
    /// Heads, or 1 for all.
    pub heads: usize,
    /// Different patterns of heads.
    pub patterns: usize,
    /// Visited tiles of all patterns.
    pub tiles: usize,
    /// Bands.
    pub bands: usize,
    /// Masks of bits.
    pub masks: usize,
}

impl LayoutSizes {
    /// Words before each part of the layout, in order, and the number of all.
    pub fn places(&self, grid: &TileGrid) -> [usize; 6] {
        let heads = self.bands.saturating_mul(4);
        let offsets = heads.saturating_add(self.heads);
        let tiles = offsets.saturating_add(self.patterns.saturating_mul(grid.query_tiles() + 1));
        let masks = tiles.saturating_add(self.tiles);
        let bits = masks.saturating_add(self.tiles);
        [heads, offsets, tiles, masks, bits, bits.saturating_add(self.masks.saturating_mul(grid.mask_words()))]
    }
}

fn problem<T>(problem: String) -> Result<T> {
    Err(Error::BlockLayout { problem })
}

impl BlockLayout<'static> {
    /// One pattern for all heads, copied to the device in order with the queue's work.
    ///
    /// # Errors
    /// See [`BlockLayout::of_heads`].
    pub fn new(queue: &Queue, pattern: Pattern) -> Result<Self> {
        Self::of_heads(queue, vec![pattern], vec![0])
    }

    /// Head `h` has the pattern `patterns[heads[h]]`. All patterns are of the same tiles.
    ///
    /// # Errors
    /// [`Error::BlockLayout`]: no patterns, patterns of other tiles than the first, no heads, a head that names no pattern.
    /// [`Error::TooLarge`] beyond 2^31 - 1 words. Errors of the driver.
    pub fn of_heads(queue: &Queue, patterns: Vec<Pattern>, heads: Vec<usize>) -> Result<Self> {
        let (words, sizes) = encode(&patterns, &heads)?;
        let _current = queue.enter()?;
        let memory = queue.stream().clone_htod(&words).map_err(|error| Error::driver("block_layout", error))?;
        let grid = *patterns[0].grid();
        Ok(Self { memory: Memory::Owned(memory), grid, sizes, host: Some((patterns, heads)) })
    }
}

impl<'a> BlockLayout<'a> {
    /// A layout that lies on the device already: i32 words without gaps, as the type describes them.
    ///
    /// # Errors
    /// [`Error::BlockLayout`]: a view that is not so many i32 words without gaps, no heads, no patterns. [`Error::TooLarge`]
    /// beyond 2^31 - 1 words.
    ///
    /// # Safety
    /// The words must be what the type says, until the work that uses them has ended. What breaks this gives wrong results.
    pub unsafe fn from_raw(words: TensorView<'a>, grid: TileGrid, sizes: LayoutSizes) -> Result<Self> {
        let layout = words.layout();
        let needed = sizes.places(&grid)[5];
        let fits =
            layout.rank() == 1 && words.dtype() == DType::I32 && layout.is_contiguous() && layout.len() == needed;
        if !fits {
            let got = words.dtype();
            return problem(format!("words are {got} {layout:?}, expected i32 [{needed}] without gaps"));
        }
        if sizes.heads == 0 || sizes.patterns == 0 {
            return problem(format!("{} heads and {} patterns, expected at least 1", sizes.heads, sizes.patterns));
        }
        too_large(needed)?;
        Ok(Self { memory: Memory::View(words), grid, sizes, host: None })
    }

    /// The tiles.
    pub fn grid(&self) -> &TileGrid {
        &self.grid
    }

    /// Numbers of the parts.
    pub fn sizes(&self) -> LayoutSizes {
        self.sizes
    }

    /// The pattern of a head as it was on the host; `None` if the layout was made on the device, or has no such head.
    pub fn pattern(&self, head: usize) -> Option<&Pattern> {
        let (patterns, heads) = self.host.as_ref()?;
        let of_head = if heads.len() == 1 { heads.first() } else { heads.get(head) };
        patterns.get(*of_head?)
    }

    /// Reads the words back from the device, which waits for the queue's work, and checks that they are what the type
    /// promises.
    ///
    /// # Errors
    /// [`Error::BlockLayout`] if they are not; errors of the driver.
    pub fn validate(&self, queue: &Queue) -> Result<()> {
        let _current = queue.enter()?;
        let words = match &self.memory {
            Memory::Owned(memory) => {
                let read = queue.stream().clone_dtoh(memory).map_err(|error| Error::driver("block_layout", error))?;
                queue.synchronize()?;
                read
            }
            Memory::View(view) => view.read_i32(queue)?,
        };
        decode(&words, self.grid, self.sizes).map(drop)
    }
}

fn too_large(words: usize) -> Result<()> {
    let limit = i32::MAX as u64;
    if words as u64 > limit {
        return Err(Error::TooLarge { op: "block_layout", what: "number of words", got: words as u64, limit });
    }
    Ok(())
}

/// The words of checked patterns.
fn encode(patterns: &[Pattern], heads: &[usize]) -> Result<(Vec<i32>, LayoutSizes)> {
    let Some(grid) = patterns.first().map(Pattern::grid) else {
        return problem("no patterns, expected at least 1".to_owned());
    };
    if let Some(at) = patterns.iter().position(|pattern| pattern.grid() != grid) {
        return problem(format!("patterns[{at}] is of {:?}, expected {grid:?} (= patterns[0])", patterns[at].grid()));
    }
    if heads.is_empty() {
        return problem("no heads, expected at least 1".to_owned());
    }
    if let Some(head) = heads.iter().position(|pattern| *pattern >= patterns.len()) {
        let (got, count) = (heads[head], patterns.len());
        return problem(format!("heads[{head}] names pattern {got}, expected one below {count}"));
    }
    let sum = |count: fn(&Pattern) -> usize| patterns.iter().map(count).sum::<usize>();
    let sizes = LayoutSizes {
        heads: heads.len(),
        patterns: patterns.len(),
        tiles: sum(|pattern| pattern.tiles().len()),
        bands: sum(|pattern| pattern.bands().len()),
        masks: sum(|pattern| pattern.bits().len() / pattern.grid().mask_words()),
    };
    too_large(sizes.places(grid)[5])?;
    let bands = patterns.iter().flat_map(Pattern::bands).flat_map(|band| {
        let limit = |limit: Option<usize>| limit.map_or(-1, |limit| limit as i32);
        [band.diagonal as i32, limit(band.left), limit(band.right), 0]
    });
    let mut words: Vec<i32> = bands.collect();
    words.extend(heads.iter().map(|&pattern| pattern as i32));
    let (mut first, mut first_band, mut first_mask) = (0, 0, 0);
    let (mut tiles, mut masks) = (Vec::new(), Vec::new());
    for pattern in patterns {
        words.extend(pattern.offsets().iter().map(|offset| (first + offset) as i32));
        let codes = pattern.masks().iter().map(|mask| match *mask {
            TileMask::Full => 0,
            TileMask::Bits(mask) => (first_mask + mask) as i32 + 1,
            TileMask::Band(band) => -((first_band + band) as i32) - 1,
        });
        masks.extend(codes.clone());
        tiles.extend(pattern.tiles().iter().zip(codes).map(|(&tile, code)| (tile as i32) << 1 | i32::from(code != 0)));
        first += pattern.tiles().len();
        first_band += pattern.bands().len();
        first_mask += pattern.bits().len() / grid.mask_words();
    }
    words.extend(tiles);
    words.extend(masks);
    words.extend(patterns.iter().flat_map(Pattern::bits).map(|&word| word as i32));
    Ok((words, sizes))
}

/// The patterns of words, checked.
fn decode(words: &[i32], grid: TileGrid, sizes: LayoutSizes) -> Result<Vec<Pattern>> {
    let [heads, offsets, tiles, masks, bits, end] = sizes.places(&grid);
    let expected = |what: String, got: i32, expected: String| problem(format!("{what} is {got}, expected {expected}"));
    let mut bands = Vec::new();
    for (at, band) in words[..heads].chunks(4).enumerate() {
        if let Some(&got) = band[1..3].iter().find(|limit| **limit < -1) {
            return expected(format!("a limit of bands[{at}]"), got, "-1 or more".to_owned());
        }
        let limit = |limit: i32| usize::try_from(limit).ok();
        bands.push(super::Band { diagonal: band[0].into(), left: limit(band[1]), right: limit(band[2]) });
    }
    for (head, &pattern) in words[heads..offsets].iter().enumerate() {
        if usize::try_from(pattern).map_or(true, |pattern| pattern >= sizes.patterns) {
            return expected(format!("heads[{head}]"), pattern, format!("a pattern below {}", sizes.patterns));
        }
    }
    let mut patterns = Vec::new();
    let mut first = 0;
    for offsets in words[offsets..tiles].chunks(grid.query_tiles() + 1) {
        let own: Vec<usize> = offsets.iter().map(|&offset| (i64::from(offset) - first as i64) as usize).collect();
        let last = own.last().copied().unwrap_or(0);
        if last > sizes.tiles - first {
            return problem(format!("an offset is {}, expected at most {}", offsets[offsets.len() - 1], sizes.tiles));
        }
        let mut parts = super::PatternParts { offsets: own, bands: bands.clone(), ..Default::default() };
        parts.bits = words[bits..end].iter().map(|&word| word as u32).collect();
        for at in first..first + last {
            let (tile, mask) = (words[tiles + at], words[masks + at]);
            if (tile & 1 == 1) != (mask != 0) {
                return expected(format!("tiles[{at}]"), tile, format!("one that says whether its mask, {mask}, is 0"));
            }
            parts.tiles.push((tile >> 1) as usize);
            parts.masks.push(match mask {
                0 => TileMask::Full,
                1.. => TileMask::Bits(mask as usize - 1),
                _ => TileMask::Band(-(i64::from(mask) + 1) as usize),
            });
        }
        patterns.push(Pattern::new(grid, parts)?);
        first += last;
    }
    if first != sizes.tiles {
        return problem(format!("the last offset is {first}, expected {} (= tiles)", sizes.tiles));
    }
    Ok(patterns)
}
