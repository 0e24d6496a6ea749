//! What only the device knows, checked on request.

use std::collections::HashMap;

use super::{Args, OP, Positions};
use crate::attention::block_table::check_page;
use crate::{Error, Queue, Result, TensorView};

/// Reads positions, offsets and the table back from the device, which waits for the queue's work, and checks that every new
/// token has a slot of the cache, which no other new token has. Tokens at position -1, which are written nowhere on purpose,
/// are passed over.
///
/// # Errors
/// [`Error::Binding`]: a position below -1 or beyond the room of its sequence, or two tokens in one slot. [`Error::Pages`]: a
/// page that the cache does not have. [`Error::Sequences`]: see [`CuSeqlens::validate`](crate::attention::CuSeqlens::validate).
/// Errors of the driver.
pub fn validate(queue: &Queue, args: &Args) -> Result<()> {
    let _current = queue.enter()?;
    let fail = |problem| Error::Binding { op: OP, problem };
    let size = |view: &[usize], dim| view.get(dim).copied().unwrap_or(0);
    let (new, cache) = (args.k.layout().shape(), args.k_cache.layout().shape());
    let (num_pages, page_size) = (size(cache, 0), size(cache, 1).max(1));
    // Sequence and number in it of every token.
    let mut tokens = Vec::new();
    match args.cu_seqlens {
        Some(sequences) => {
            sequences.validate(queue)?;
            for (sequence, ends) in sequences.read(queue)?.windows(2).enumerate() {
                tokens.extend((0..ends[1] - ends[0]).map(|index| (sequence, index as usize)));
            }
        }
        None => {
            let (b, s_q) = (size(new, 0), size(new, 1));
            tokens.extend((0..b).flat_map(|sequence| (0..s_q).map(move |index| (sequence, index))));
        }
    }
    let (entries, pages_per_sequence) = match args.block_table {
        Some(table) => (table.read(queue)?, table.pages_per_sequence()),
        None => (Vec::new(), 1),
    };
    let capacity = pages_per_sequence.saturating_mul(if num_pages == 0 { 0 } else { page_size });
    let read = Given::read(queue, &args.positions)?;
    let mut taken = HashMap::new();
    for (token, (sequence, index)) in tokens.into_iter().enumerate() {
        let given = read
            .position(token, sequence, index)
            .ok_or_else(|| fail(format!("positions has no element for token {index} of sequence {sequence}")))?;
        if given == -1 {
            continue;
        }
        let position = usize::try_from(given).ok().filter(|&position| position < capacity).ok_or_else(|| {
            let most = capacity as i128 - 1;
            fail(format!("token {index} of sequence {sequence} has position {given}, expected 0 to {most}, or -1"))
        })?;
        let page = match args.block_table {
            Some(table) => {
                let at = position / page_size;
                let page = entries.get(sequence * pages_per_sequence + at).copied().unwrap_or(-1);
                check_page(sequence, at, page, table.num_pages().min(num_pages))?;
                page as usize
            }
            None => sequence,
        };
        if let Some((other, of)) = taken.insert((page, position % page_size), (index, sequence)) {
            let slot = position % page_size;
            return Err(fail(format!(
                "token {index} of sequence {sequence} and token {other} of sequence {of} have slot {slot} of page {page}"
            )));
        }
    }
    Ok(())
}

/// Positions on the host.
struct Given<'a> {
    view: &'a TensorView<'a>,
    values: Vec<i32>,
    first: bool,
}

impl<'a> Given<'a> {
    fn read(queue: &Queue, positions: &'a Positions<'a>) -> Result<Self> {
        let first = matches!(positions, Positions::OfFirst(_));
        let (Positions::OfTokens(view) | Positions::OfFirst(view)) = positions;
        Ok(Self { view, values: view.read_i32(queue)?, first })
    }

    /// `None` if there is none.
    fn position(&self, token: usize, sequence: usize, index: usize) -> Option<i64> {
        let layout = self.view.layout();
        let at = match (self.first, layout.rank()) {
            (true, 1) => vec![sequence],
            (false, 1) => vec![token],
            (false, 2) => vec![sequence, index],
            _ => return None,
        };
        let inside = at.iter().zip(layout.shape()).all(|(at, size)| at < size);
        let value = inside.then(|| self.values.get(layout.offset(&at)).copied()).flatten()?;
        Some(i64::from(value) + if self.first { index as i64 } else { 0 })
    }
}
