//! What holds for every input of the PTX parser and of the readers of fatbins and cubins: the fuzz targets and the replay of
//! their corpus check the same.

use softcuda::{
    container::{ContainerError, Format, cubin, fatbin},
    program::Program,
    ptx::{
        self,
        ast::{Module, Position, Space},
        link,
    },
};

/// Content that the reader of fatbins may hand out for an input, whatever it claims to hold.
const MAX_CONTENT_BYTES: usize = 1 << 29;

/// PTX text: it parses or is an error inside the text; what parses prints to a text that parses to the same, and loads or is
/// an error with a place inside the text.
pub(crate) fn ptx(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let module = match ptx::parse(&text) {
        Ok(module) => module,
        Err(error) => {
            assert!(!error.message.is_empty());
            return assert_inside(&text, error.position);
        }
    };
    let printed = ptx::print(&module);
    let again =
        ptx::parse(&printed).unwrap_or_else(|error| panic!("what was printed does not parse: {error}\n{printed}"));
    assert_eq!(ptx::print(&again), printed, "printing what was printed changes it");
    links(&module);
    match Program::load(&module, &addresses(&module)) {
        Ok(program) => {
            let kernels = module.functions.iter().filter(|function| function.entry && function.body.is_some());
            assert_eq!(program.kernels.len(), kernels.count());
            let of_printed = Program::load(&again, &addresses(&again));
            assert!(of_printed.is_ok(), "what was printed does not load: {}\n{printed}", of_printed.unwrap_err());
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            assert_inside(&text, error.position);
        }
    }
}

/// Linked with itself, a module gives one that prints to PTX, or says what stands in the way.
fn links(module: &Module) {
    let inputs = ["first", "second"].map(|name| (name.to_owned(), module.clone()));
    match link::link(&inputs) {
        Ok(linked) => {
            let printed = ptx::print(&linked);
            let again = ptx::parse(&printed);
            assert!(again.is_ok(), "what was linked does not parse: {}\n{printed}", again.unwrap_err());
        }
        Err(errors) => assert!(!errors.is_empty() && errors.iter().all(|error| !error.is_empty())),
    }
}

/// Addresses as a driver gives them: one after the other in device memory.
fn addresses(module: &Module) -> Vec<u64> {
    let mut next = 0x7000_0000_0000u64;
    let place = |variable: &ptx::ast::Variable| match variable.space {
        Space::Global | Space::Const => {
            next += 256;
            next
        }
        _ => 0,
    };
    module.variables.iter().map(place).collect()
}

fn assert_inside(text: &str, position: Position) {
    let mut lines = text.split('\n');
    let line = (position.line as usize).checked_sub(1).and_then(|line| lines.nth(line));
    let line = line.unwrap_or_else(|| panic!("line {} is not in the text", position.line));
    let columns = 1..=line.len() + 1;
    assert!(columns.contains(&(position.column as usize)), "column {} of line {}", position.column, position.line);
}

/// A fatbin or a cubin: it is read or is an error inside the image; no content is larger than the limit; cubins inside a
/// fatbin are read the same way.
pub(crate) fn container(input: &[u8]) {
    let first: Vec<u8> = input.iter().copied().chain([0; 4]).take(4).collect();
    match Format::of([first[0], first[1], first[2], first[3]]) {
        Format::Cubin => read_cubin(input),
        _ => read_fatbin(input),
    }
}

fn read_fatbin(input: &[u8]) {
    let whole = fatbin::total_size(&input[..input.len().min(fatbin::HEADER_BYTES)]);
    match fatbin::read(input) {
        Ok(entries) => {
            assert!(whole.expect("the header was read") <= input.len(), "the first region ends inside the image");
            let content: usize = entries.iter().map(|entry| entry.payload.len()).sum();
            assert!(content <= MAX_CONTENT_BYTES.max(input.len()), "{content} bytes of content");
            for entry in entries.iter().filter(|entry| entry.kind == fatbin::Kind::Elf) {
                read_cubin(&entry.payload);
            }
        }
        Err(error) => assert_at(input, &error),
    }
}

fn read_cubin(input: &[u8]) {
    // Only asked of an image whose header is there; where it ends is the caller's to believe.
    let _ = cubin::total_size(&input[..input.len().min(cubin::HEADER_BYTES)]);
    match cubin::read(input) {
        Ok(cubin) => {
            // A symbol has 24 bytes.
            assert!(cubin.kernels.len() <= input.len() / 24, "{} kernels", cubin.kernels.len());
        }
        Err(error) => assert_at(input, &error),
    }
}

fn assert_at(input: &[u8], error: &ContainerError) {
    assert!(!error.message.is_empty());
    assert!(error.offset <= input.len(), "{error}, but the image has {} bytes", input.len());
}
