//! `pattern`: which tiles a pattern of sparse attention visits, in numbers and as a drawing.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use llm_kernels::sparse::patterns::{BigBird, PatternKind};
use llm_kernels::sparse::{Pattern, TileGrid, TileMask};
use serde_json::{Value, json};

use crate::Global;
use crate::failure::Failure;
use crate::output;

/// Arguments of `pattern`.
#[derive(Debug, Args)]
pub(crate) struct PatternArgs {
    /// The pattern
    #[arg(value_enum, value_name = "PATTERN")]
    kind: Kind,
    /// Queries
    #[arg(long)]
    seq: usize,
    /// Keys; the last query stands at the last key [default: as many as queries]
    #[arg(long, value_name = "KEYS")]
    seq_k: Option<usize>,
    /// Queries and keys of a tile: 64 or 128
    #[arg(long, default_value_t = 64)]
    tile: usize,
    /// Draw the tiles into an SVG file: dark where seen whole, light where in part
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keys seen before a query's own place: sliding-window, dilated; on either side: longformer
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Keys seen after it: sliding-window, dilated
    #[arg(long, default_value_t = 0)]
    window_right: usize,
    /// From a seen key to the next: dilated
    #[arg(long, default_value_t = 2)]
    dilation: usize,
    /// strided, fixed
    #[arg(long, default_value_t = 128)]
    stride: usize,
    /// Last keys of a stride that all see: fixed
    #[arg(long, default_value_t = 8)]
    summary: usize,
    /// Positions that see all and that all see: longformer
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "POSITION,..")]
    global: Vec<usize>,
    /// Positions of a block: bigbird
    #[arg(long, default_value_t = 64)]
    block: usize,
    /// Blocks seen on either side: bigbird
    #[arg(long, default_value_t = 1)]
    window_blocks: usize,
    /// First blocks that see all and that all see: bigbird
    #[arg(long, default_value_t = 2)]
    global_blocks: usize,
    /// Blocks drawn for each block: bigbird
    #[arg(long, default_value_t = 3)]
    random_blocks: usize,
    /// Which blocks are drawn: bigbird
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// First keys that all see: streaming, tri-shape
    #[arg(long, default_value_t = 64)]
    sinks: usize,
    /// Last keys, the query's own among them: streaming, tri-shape
    #[arg(long, default_value_t = 1024)]
    recent: usize,
    /// Last queries, which see all keys before them: tri-shape
    #[arg(long, default_value_t = 128)]
    last: usize,
    /// Keys that all later queries see: vertical-slash
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "KEY,..")]
    vertical: Vec<usize>,
    /// Distances of keys that are seen: vertical-slash
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "DISTANCE,..")]
    slash: Vec<usize>,
    /// One past the last position of each document but the last: documents
    #[arg(long, value_delimiter = ',', value_name = "POSITION,..")]
    ends: Vec<usize>,
    /// Later keys of a document are seen too: documents
    #[arg(long)]
    bidirectional: bool,
    /// First keys that all see: prefix-lm
    #[arg(long, default_value_t = 256)]
    prefix: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Causal,
    SlidingWindow,
    Dilated,
    Strided,
    Fixed,
    Longformer,
    #[value(name = "bigbird")]
    BigBird,
    Streaming,
    TriShape,
    VerticalSlash,
    Documents,
    PrefixLm,
}

impl PatternArgs {
    fn kind(&self) -> PatternKind {
        let Self { window, stride, sinks, recent, last, seed, .. } = *self;
        match self.kind {
            Kind::Causal => PatternKind::Causal,
            Kind::SlidingWindow => PatternKind::SlidingWindow { left: window, right: self.window_right },
            Kind::Dilated => PatternKind::Dilated { left: window, right: self.window_right, dilation: self.dilation },
            Kind::Strided => PatternKind::Strided { stride },
            Kind::Fixed => PatternKind::Fixed { stride, summary: self.summary },
            Kind::Longformer => PatternKind::Longformer { window, global: self.global.clone() },
            Kind::BigBird => PatternKind::BigBird(BigBird {
                block: self.block,
                window: self.window_blocks,
                global: self.global_blocks,
                random: self.random_blocks,
                seed,
            }),
            Kind::Streaming => PatternKind::Streaming { sinks, recent },
            Kind::TriShape => PatternKind::TriShape { sinks, recent, last },
            Kind::VerticalSlash => {
                PatternKind::VerticalSlash { vertical: self.vertical.clone(), slash: self.slash.clone() }
            }
            Kind::Documents => PatternKind::Documents { ends: self.ends.clone(), causal: !self.bidirectional },
            Kind::PrefixLm => PatternKind::PrefixLm { prefix: self.prefix },
        }
    }
}

/// Prints the pattern's numbers, and draws it if asked to. Needs no device.
pub(crate) fn run(global: &Global, arguments: &PatternArgs) -> Result<(), Failure> {
    let sizes = [arguments.seq, arguments.seq_k.unwrap_or(arguments.seq)];
    let grid = TileGrid::new(sizes, [arguments.tile; 2])?;
    let pattern = arguments.kind().pattern(grid)?;
    if let Some(path) = &arguments.svg {
        let failed = |error| Failure::Message(format!("{}: {error}", path.display()));
        std::fs::write(path, svg(&pattern)).map_err(failed)?;
    }
    let name = arguments.kind.to_possible_value().map(|value| value.get_name().to_owned());
    let full = pattern.masks().iter().filter(|mask| **mask == TileMask::Full).count();
    let (tiles, all) = (pattern.tiles().len(), grid.query_tiles() * grid.key_tiles());
    let (pairs, all_pairs) = (pattern.visible_pairs(), grid.s_q() as f64 * grid.s_k() as f64);
    let document = json!({
        "pattern": name,
        "s_q": grid.s_q(),
        "s_k": grid.s_k(),
        "tile": arguments.tile,
        "tiles": tiles,
        "tiles_of_all": tiles as f64 / all.max(1) as f64,
        "full_tiles": full,
        "partial_tiles": tiles - full,
        "different_masks_of_bits": pattern.bits().len() / grid.mask_words(),
        "pairs": pairs,
        "pairs_of_all": pairs as f64 / all_pairs.max(1.0),
    });
    if global.json {
        return Ok(output::json(&document)?);
    }
    for (name, value) in document.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        output::line(&format!("{:24} {text}", name.replace('_', " ")))?;
    }
    Ok(())
}

/// A drawing: queries from top to bottom, keys from left to right, one unit a tile; neighbours alike are one rectangle.
fn svg(pattern: &Pattern) -> String {
    let grid = pattern.grid();
    let (width, height) = (grid.key_tiles(), grid.query_tiles());
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"800\" \
         shape-rendering=\"crispEdges\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#f4f4f4\"/>\n"
    );
    for row in 0..height {
        // First tile, number of tiles, whether they are full.
        let mut runs: Vec<(usize, usize, bool)> = Vec::new();
        for (tile, mask) in pattern.row(row) {
            let full = mask == TileMask::Full;
            match runs.last_mut() {
                Some((first, count, same)) if *first + *count == tile && *same == full => *count += 1,
                _ => runs.push((tile, 1, full)),
            }
        }
        for (first, count, full) in runs {
            let class = if full { "#1f4e79" } else { "#8ab4dc" };
            let rectangle = format!("x=\"{first}\" y=\"{row}\" width=\"{count}\" height=\"1\" fill=\"{class}\"");
            // Writing to a string does not fail.
            let _ = writeln!(text, "<rect {rectangle}/>");
        }
    }
    text + "</svg>\n"
}
