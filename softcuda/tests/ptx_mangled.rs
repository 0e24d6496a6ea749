//! Mangled PTX: the parser ends, does not panic, and points into the text.

use proptest::prelude::*;
use softcuda::ptx::{parse, print};

const FIXTURES: &[&str] = &[
    include_str!("ptx/arithmetic.ptx"),
    include_str!("ptx/memory_lineinfo.ptx"),
    include_str!("ptx/half.ptx"),
    include_str!("ptx/scopes.ptx"),
];

/// Words that mean something to the parser.
const TOKENS: &[&str] = &[
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
    "!",
    "|",
    "-",
    "+",
    "_",
    "\"",
    "/*",
    ".",
    "%",
    "=",
    ".reg",
    ".global",
    ".shared",
    ".b8",
    ".f32",
    ".v4",
    ".pred",
    ".entry",
    ".func",
    ".align",
    ".loc",
    ".section",
    "ret",
    "bra",
    "call",
    "0x",
    "0f",
    "1e",
    "18446744073709551616",
    "99999999999",
    "%r1",
    "%rd1",
    "%p1",
    "%tid.x",
    "brx.idx",
    ".branchtargets",
    "generic",
    "WARP_SZ",
    "é",
    "\0",
    "?",
    "/ 0",
    "<4294967295>",
];

/// One change of a text: where (as a fraction), what, and how long.
#[derive(Clone, Debug)]
enum Change {
    DeleteBytes(f64, usize),
    DuplicateBytes(f64, usize),
    ReplaceByte(f64, char),
    InsertToken(f64, &'static str),
    DeleteToken(f64),
    SwapTokens(f64, f64),
    Truncate(f64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = || 0.0..1.0f64;
    let change = prop_oneof![
        (place(), 1..40usize).prop_map(|(at, n)| Change::DeleteBytes(at, n)),
        (place(), 1..200usize).prop_map(|(at, n)| Change::DuplicateBytes(at, n)),
        (place(), any::<char>()).prop_map(|(at, c)| Change::ReplaceByte(at, c)),
        (place(), prop::sample::select(TOKENS)).prop_map(|(at, t)| Change::InsertToken(at, t)),
        place().prop_map(Change::DeleteToken),
        (place(), place()).prop_map(|(a, b)| Change::SwapTokens(a, b)),
        place().prop_map(Change::Truncate),
    ];
    prop::collection::vec(change, 1..4)
}

/// The nearest character boundary at or below a fraction of the text.
fn place(text: &str, fraction: f64) -> usize {
    let mut at = (text.len() as f64 * fraction) as usize;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The word that a place lies in.
fn word(text: &str, at: usize) -> std::ops::Range<usize> {
    let separates = |c: char| c.is_whitespace() || ",;[]{}()".contains(c);
    let start = text[..at].rfind(separates).map_or(0, |i| i + 1);
    let end = text[at..].find(separates).map_or(text.len(), |i| at + i);
    start.min(end)..end
}

fn apply(text: &mut String, change: &Change) {
    let span = |text: &str, at: f64, length: usize| {
        let start = place(text, at);
        let mut end = (start + length).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    };
    match change {
        Change::DeleteBytes(at, n) => {
            let span = span(text, *at, *n);
            text.replace_range(span, "");
        }
        Change::DuplicateBytes(at, n) => {
            let span = span(text, *at, *n);
            let copy = text[span.clone()].to_string();
            text.insert_str(span.end, &copy);
        }
        Change::ReplaceByte(at, c) => {
            let span = span(text, *at, 1);
            text.replace_range(span, c.encode_utf8(&mut [0; 4]));
        }
        Change::InsertToken(at, token) => text.insert_str(place(text, *at), token),
        Change::DeleteToken(at) => {
            let range = word(text, place(text, *at));
            text.replace_range(range, "");
        }
        Change::SwapTokens(a, b) => {
            let (a, b) = (word(text, place(text, *a)), word(text, place(text, *b)));
            if a.end <= b.start {
                let (first, second) = (text[a.clone()].to_string(), text[b.clone()].to_string());
                text.replace_range(b, &first);
                text.replace_range(a, &second);
            }
        }
        Change::Truncate(at) => text.truncate(place(text, *at)),
    }
}

proptest! {
    #[test]
    fn mangled_text_is_an_error_inside_it_or_a_module_that_prints(
        fixture in prop::sample::select(FIXTURES),
        changes in changes(),
    ) {
        let mut text = fixture.to_string();
        changes.iter().for_each(|change| apply(&mut text, change));
        match parse(&text) {
            // Whatever parses must print to something that parses.
            Ok(module) => {
                let printed = print(&module);
                let again = parse(&printed);
                prop_assert!(again.is_ok(), "{}\n{printed}", again.unwrap_err());
                prop_assert_eq!(print(&again.unwrap()), printed);
            }
            Err(error) => {
                prop_assert!(!error.message.is_empty());
                let lines: Vec<&str> = text.split('\n').collect();
                let (line, column) = (error.position.line as usize, error.position.column as usize);
                prop_assert!((1..=lines.len()).contains(&line), "{error}");
                prop_assert!((1..=lines[line - 1].len() + 1).contains(&column), "{error}");
            }
        }
    }
}
