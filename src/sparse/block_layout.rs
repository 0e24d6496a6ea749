//! The layout of block-sparse attention, in device memory.

use cudarc::driver::{CudaSlice, DevicePtr, SyncOnDrop};

use super::{LayoutOperand, LayoutWork, Pattern, TileGrid, TileMask};
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
/// columns  [patterns, key_tiles + 1]         the same tiles by columns: where those of a column begin and end
/// rows     [tiles]                           tile of queries * 4, 2 if it is its row's first, 1 if its mask is not 0
/// places   [tiles]                           its place in `tiles` and `masks`
/// ```
///
/// Kernels clamp what they read from it: words that changed on the device give wrong results, and never an access outside
/// the tensors. The gradients' kernels may wait without an end for tiles that rows and columns don't both list.
#[derive(Debug)]
pub struct BlockLayout<'a> {
    memory: Memory<'a>,
    grid: TileGrid,
    sizes: LayoutSizes,
    host: Option<Host>,
}

/// What a layout was made of.
#[derive(Debug)]
struct Host {
    patterns: Vec<Pattern>,
    heads: Vec<usize>,
    work: LayoutWork,
}

impl Host {
    fn new(patterns: Vec<Pattern>, heads: Vec<usize>) -> Self {
        let each: Vec<LayoutWork> = patterns.iter().map(LayoutWork::new).collect();
        let work = heads.iter().map(|&pattern| each[pattern]).sum();
        Self { patterns, heads, work }
    }
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
    /// Words of the layout.
    pub fn words(&self, grid: &TileGrid) -> usize {
        self.places(grid)[8]
    }

    /// Words before each part of the layout but the first, in order, and the number of all.
    pub fn places(&self, grid: &TileGrid) -> [usize; 9] {
        let heads = self.bands.saturating_mul(4);
        let offsets = heads.saturating_add(self.heads);
        let tiles = offsets.saturating_add(self.patterns.saturating_mul(grid.query_tiles() + 1));
        let masks = tiles.saturating_add(self.tiles);
        let bits = masks.saturating_add(self.tiles);
        let columns = bits.saturating_add(self.masks.saturating_mul(grid.mask_words()));
        let rows = columns.saturating_add(self.patterns.saturating_mul(grid.key_tiles() + 1));
        let places = rows.saturating_add(self.tiles);
        [heads, offsets, tiles, masks, bits, columns, rows, places, places.saturating_add(self.tiles)]
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
        let grid = *patterns[0].grid();
        Self::upload(queue, &words, grid, sizes, Host::new(patterns, heads))
    }

    /// A layout of words that lie on the host, as the type describes them, up to and without `columns`, which follow from
    /// them.
    ///
    /// # Errors
    /// [`Error::BlockLayout`]: another number of words, no heads, no patterns, words that are not what the type says.
    /// [`Error::TooLarge`] beyond 2^31 - 1 words. Errors of the driver.
    pub fn of_words(queue: &Queue, words: &[i32], grid: TileGrid, sizes: LayoutSizes) -> Result<Self> {
        let needed = sizes.places(&grid)[5];
        if words.len() != needed {
            return problem(format!("{} words, expected {needed}", words.len()));
        }
        check_sizes(&sizes, sizes.words(&grid))?;
        let (patterns, heads) = decode(words, grid, sizes)?;
        let words = [words, &by_columns(&patterns)].concat();
        Self::upload(queue, &words, grid, sizes, Host::new(patterns, heads))
    }

    fn upload(queue: &Queue, words: &[i32], grid: TileGrid, sizes: LayoutSizes, host: Host) -> Result<Self> {
        let _current = queue.enter()?;
        let memory = queue.stream().clone_htod(words).map_err(|error| Error::driver("block_layout", error))?;
        Ok(Self { memory: Memory::Owned(memory), grid, sizes, host: Some(host) })
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
        let needed = sizes.words(&grid);
        let fits =
            layout.rank() == 1 && words.dtype() == DType::I32 && layout.is_contiguous() && layout.len() == needed;
        if !fits {
            let got = words.dtype();
            return problem(format!("words are {got} {layout:?}, expected i32 [{needed}] without gaps"));
        }
        check_sizes(&sizes, needed)?;
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
        let Host { patterns, heads, .. } = self.host.as_ref()?;
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
        let (patterns, _) = decode(&words, self.grid, self.sizes)?;
        let (expected, got) = (by_columns(&patterns), &words[self.sizes.places(&self.grid)[5]..]);
        match (0..expected.len()).find(|&at| got[at] != expected[at]) {
            None => Ok(()),
            Some(at) => {
                let (got, expected) = (got[at], expected[at]);
                problem(format!(
                    "word {at} of columns, rows and places is {got}, expected {expected} (of tiles by rows)"
                ))
            }
        }
    }

    pub(crate) fn open<'b>(
        &'b self,
        op: &'static str,
        argument: &'static str,
        queue: &'b Queue,
    ) -> Result<(LayoutOperand, Option<SyncOnDrop<'b>>)> {
        let (address, guard) = match &self.memory {
            Memory::Owned(memory) => {
                TensorView::contiguous(memory, &[memory.len()])?.open(op, argument, queue).map(drop)?;
                let (address, guard) = memory.device_ptr(queue.stream());
                (address, Some(guard))
            }
            Memory::View(view) => {
                let (operand, guard) = view.open(op, argument, queue)?;
                (operand.address, guard)
            }
        };
        let work = self.host.as_ref().map(|host| host.work);
        Ok((LayoutOperand { address, grid: self.grid, sizes: self.sizes, work }, guard))
    }
}

fn check_sizes(sizes: &LayoutSizes, words: usize) -> Result<()> {
    if sizes.heads == 0 || sizes.patterns == 0 {
        return problem(format!("{} heads and {} patterns, expected at least 1", sizes.heads, sizes.patterns));
    }
    too_large(words)
}

fn too_large(words: usize) -> Result<()> {
    let limit = i32::MAX as u64;
    if words as u64 > limit {
        return Err(Error::TooLarge { op: "block_layout", what: "number of words", got: words as u64, limit });
    }
    Ok(())
}

/// The words of checked patterns.
pub(super) fn encode(patterns: &[Pattern], heads: &[usize]) -> Result<(Vec<i32>, LayoutSizes)> {
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
    too_large(sizes.words(grid))?;
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
    words.extend(by_columns(patterns));
    Ok((words, sizes))
}

/// The words of `columns`, `rows` and `places`.
fn by_columns(patterns: &[Pattern]) -> Vec<i32> {
    let (mut columns, mut rows, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for pattern in patterns {
        let mut tiles: Vec<Vec<[i32; 2]>> = vec![Vec::new(); pattern.grid().key_tiles()];
        for (row, range) in pattern.offsets().windows(2).enumerate() {
            for at in range[0]..range[1] {
                let (starts, cut) = (at == range[0], pattern.masks()[at] != TileMask::Full);
                let word = (row as i32) << 2 | i32::from(starts) << 1 | i32::from(cut);
                tiles[pattern.tiles()[at]].push([word, (first + at) as i32]);
            }
        }
        columns.push(first as i32);
        for column in tiles {
            rows.extend(column.iter().map(|[row, _]| row));
            places.extend(column.iter().map(|[_, place]| place));
            columns.push(rows.len() as i32);
        }
        first = rows.len();
    }
    [columns, rows, places].concat()
}

/// The patterns of words, checked, and which each head has.
fn decode(words: &[i32], grid: TileGrid, sizes: LayoutSizes) -> Result<(Vec<Pattern>, Vec<usize>)> {
    let [heads, offsets, tiles, masks, bits, columns, ..] = sizes.places(&grid);
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
        parts.bits = words[bits..columns].iter().map(|&word| word as u32).collect();
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
    Ok((patterns, words[heads..offsets].iter().map(|&pattern| pattern as usize).collect()))
}
