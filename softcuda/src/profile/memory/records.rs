//! The sectors that a block accesses, in order: 8 bytes a run of sectors.

/// What is done to a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Access {
    /// A load, or the source of an asynchronous copy.
    Read,
    /// A store.
    Write,
    /// Both: an atomic.
    Update,
}

/// A run of sectors: 43 bits of the first one's number, 19 of how many, 2 of what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(u64);

const COUNT_BITS: u32 = 19;
const LONGEST: u64 = (1 << COUNT_BITS) - 1;

impl Run {
    fn new(access: Access, first: u64, count: u64) -> Run {
        Run(first << (COUNT_BITS + 2) | count << 2 | access as u64)
    }

    pub(super) fn first(self) -> u64 {
        self.0 >> (COUNT_BITS + 2)
    }

    pub(super) fn count(self) -> u64 {
        self.0 >> 2 & LONGEST
    }

    pub(super) fn access(self) -> Access {
        match self.0 & 3 {
            0 => Access::Read,
            1 => Access::Write,
            _ => Access::Update,
        }
    }
}

/// What a host thread notes of the block that it runs.
pub(crate) struct Records {
    on: bool,
    /// The run that goes on: what, its first sector, and the one behind its last; empty at first.
    access: Access,
    first: u64,
    end: u64,
    runs: Vec<Run>,
}

impl Records {
    /// Nothing yet; if not `on`, nothing ever.
    pub(crate) fn new(on: bool) -> Records {
        Records { on, access: Access::Read, first: 0, end: 0, runs: Vec::new() }
    }

    /// Whether anything is noted.
    #[inline(always)]
    pub(crate) fn on(&self) -> bool {
        self.on
    }

    /// Notes an access to consecutive bytes, at least one.
    #[inline(always)]
    pub(crate) fn bytes(&mut self, access: Access, address: u64, bytes: u64) {
        self.sectors(access, address >> 5, ((address + bytes - 1) >> 5) + 1);
    }

    /// Notes an access to the sectors from `first` to before `end`.
    #[inline(always)]
    pub(crate) fn sectors(&mut self, access: Access, first: u64, end: u64) {
        // What continues a run, or repeats a part of it, belongs to it.
        if access == self.access && first >= self.first && first <= self.end {
            self.end = self.end.max(end);
            return;
        }
        self.close();
        (self.access, self.first, self.end) = (access, first, end);
    }

    /// The same for up to 32 single sectors, anywhere.
    #[inline(always)]
    pub(crate) fn scattered(&mut self, access: Access, sectors: impl Iterator<Item = u64>) {
        if access != self.access || self.first == self.end || self.end - self.first > LONGEST - 32 {
            self.close();
            (self.access, self.first, self.end) = (access, u64::MAX, u64::MAX);
        }
        let (mut first, mut end) = (self.first, self.end);
        // No branch: whether a sector continues the run before it is anybody's guess.
        let mut runs = [Run(0); 64];
        let mut last = 0;
        for sector in sectors {
            runs[last % 64] = Run::new(access, first, end.wrapping_sub(first));
            let continues = sector >= first && sector <= end;
            last += usize::from(!continues);
            end = if continues { end.max(sector + 1) } else { sector + 1 };
            first = if continues { first } else { sector };
        }
        let begun = usize::from(self.first == u64::MAX);
        (self.first, self.end) = (first, end);
        self.runs.extend_from_slice(&runs[begun.min(last)..last.min(64)]);
    }

    #[inline(never)]
    fn close(&mut self) {
        while self.first < self.end {
            let count = (self.end - self.first).min(LONGEST);
            self.runs.push(Run::new(self.access, self.first, count));
            self.first += count;
        }
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Takes the runs of a block that has ended, or of its part so far; `spare` is used for the next ones.
    pub(super) fn take(&mut self, spare: Vec<Run>) -> Vec<Run> {
        self.close();
        std::mem::replace(&mut self.runs, spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(note: impl Fn(&mut Records)) -> Vec<(Access, u64, u64)> {
        let mut records = Records::new(true);
        note(&mut records);
        let runs = records.take(Vec::new());
        runs.into_iter().map(|run| (run.access(), run.first(), run.count())).collect()
    }

    #[test]
    fn accesses_that_touch_are_one_run() {
        let found = runs(|records| {
            records.bytes(Access::Read, 0x7000_0000_0000, 128);
            records.bytes(Access::Read, 0x7000_0000_0080, 64);
            records.bytes(Access::Read, 0x7000_0000_0020, 4);
            records.bytes(Access::Write, 0x7000_0000_00c0, 33);
            records.bytes(Access::Update, 0x7000_0000_0000, 4);
        });
        let first = 0x7000_0000_0000 >> 5;
        assert_eq!(found, [(Access::Read, first, 6), (Access::Write, first + 6, 2), (Access::Update, first, 1)]);
    }

    #[test]
    fn long_runs_are_cut() {
        let found = runs(|records| {
            for line in 0..1 << 18 {
                records.bytes(Access::Write, 128 * line, 128);
            }
        });
        let sum: u64 = found.iter().map(|run| run.2).sum();
        assert_eq!((found.len(), sum), (3, 1 << 20));
    }

    #[test]
    fn nothing_accessed_is_nothing_noted() {
        assert!(runs(|_| {}).is_empty());
    }
}
