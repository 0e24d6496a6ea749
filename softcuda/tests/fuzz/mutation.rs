//! Changes of an input that keep most of its structure: words and lines of a text, fields of a header.

/// Marsaglia's xorshift: the same changes for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, 0 for a limit of 0.
    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() >> 16) as usize % limit }
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// Words that mean something to the parser, and numbers at the limits of what it may hold.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    ",",
    ";",
    ":",
    "@",
    "@!",
    "|",
    "-",
    "+",
    "=",
    "_",
    "\"",
    "/*",
    "*/",
    "//",
    ".",
    ".version",
    ".target",
    ".address_size",
    ".visible",
    ".extern",
    ".weak",
    ".common",
    ".entry",
    ".func",
    ".param",
    ".reg",
    ".global",
    ".const",
    ".shared",
    ".local",
    ".align",
    ".b8",
    ".b32",
    ".b64",
    ".b128",
    ".u16",
    ".s64",
    ".f16x2",
    ".f32",
    ".f64",
    ".pred",
    ".v2",
    ".v4",
    ".maxntid",
    ".reqntid",
    ".minnctapersm",
    ".loc",
    ".file",
    ".section",
    ".pragma",
    ".branchtargets",
    ".callprototype",
    ".alias",
    ".noreturn",
    "ret",
    "bra",
    "brx.idx",
    "call",
    "call.uni",
    "bar.sync",
    "mov.b64",
    "ld.param.u64",
    "st.global.f32",
    "cvta.to.global.u64",
    "add.s32",
    "setp.lt.u32",
    "fma.rn.f32",
    "atom.global.add.u32",
    "shfl.sync.idx.b32",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "cp.async.ca.shared.global",
    "generic",
    "WARP_SZ",
    "%tid.x",
    "%r1",
    "%p1",
    "%rd1",
    "%f1",
    "0",
    "1",
    "-1",
    "0x",
    "0f7FC00000",
    "0d7FF8000000000000",
    "1e400",
    "32",
    "127",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "0x7fffffffffffffff",
    "<4294967295>",
    "[281474976710656]",
    "? 1 : 0",
    "/ 0",
    "% 0",
    "<< 64",
    "\u{e9}",
    "\0",
];

/// A text with one to four words or lines changed.
pub(crate) fn text(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..=random.below(4) {
        change(&mut text, random);
    }
    text
}

fn change(text: &mut String, random: &mut Random) {
    match random.below(10) {
        // Lines: most statements are one.
        0..=3 => {
            let mut lines: Vec<&str> = text.split('\n').collect();
            let (first, second) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(4) {
                0 => drop(lines.remove(first)),
                1 => lines.insert(first, lines[second]),
                2 => lines.swap(first, second),
                _ => lines.truncate(first + 1),
            }
            *text = lines.join("\n");
        }
        // Words: one takes another's place, a number becomes an extreme one.
        _ => {
            let all = words(text);
            let Some(range) = random.pick(&all).cloned() else {
                return text.push_str(WORDS[random.below(WORDS.len())]);
            };
            let other = random.pick(&all).map_or("", |other| &text[other.clone()]).to_owned();
            let known = WORDS[random.below(WORDS.len())].to_owned();
            match random.below(6) {
                0 => text.replace_range(range, ""),
                1 => text.replace_range(range, &other),
                2 => text.replace_range(range, &known),
                3 => text.insert_str(range.start, &format!("{known} ")),
                4 => text.insert_str(range.end, &other),
                _ => {
                    let at = range.start + random.below(range.len());
                    if text.is_char_boundary(at) {
                        text.truncate(at);
                    }
                }
            }
        }
    }
}

/// Where the words and marks of a text are.
fn words(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices() {
        let inside = character.is_alphanumeric() || "_$%.".contains(character);
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(begin), false) => {
                words.push(begin..at);
                start = None;
            }
            _ => {}
        }
        if !inside && !character.is_whitespace() {
            words.push(at..at + character.len_utf8());
        }
    }
    words.extend(start.map(|begin| begin..text.len()));
    words
}

/// An image with one to four fields changed, or cut, or with a part twice.
pub(crate) fn image(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.next() as u8);
        }
        let length = bytes.len();
        // Headers stand at the beginning, fields of theirs at multiples of two.
        let at = if random.below(2) == 0 { random.below(length.min(192)) & !1 } else { random.below(length) };
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let part: Vec<u8> = bytes[at..].iter().copied().take(1 + random.below(128)).collect();
                let to = random.below(length);
                bytes.splice(to..to, part);
            }
            2 => drop(bytes.drain(at..(at + 1 + random.below(64)).min(length))),
            3 => bytes[at] = random.next() as u8,
            _ => {
                let width = [1, 2, 4, 8][random.below(4)].min(length - at);
                let mut field = [0; 8];
                field[..width].copy_from_slice(&bytes[at..at + width]);
                let old = u64::from_le_bytes(field);
                let size = length as u64;
                let values = [
                    0,
                    1,
                    old.wrapping_add(1),
                    old.wrapping_sub(1),
                    size,
                    size + 1,
                    1 << 31,
                    1 << 32,
                    u64::MAX,
                    u64::MAX - 63,
                ];
                let value = values[random.below(values.len())].to_le_bytes();
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
        }
    }
    bytes
}
