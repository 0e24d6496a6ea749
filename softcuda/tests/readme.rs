//! The README's list of instructions is the instruction table.

use std::path::Path;

const START: &str = "<!-- instructions: generated, see \"Add an instruction\" -->\n";
const END: &str = "<!-- end of instructions -->";

#[test]
fn the_list_of_instructions_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).expect("README.md");
    let (before, rest) = text.split_once(START).expect("the list's first line");
    let (list, after) = rest.split_once(END).expect("the list's last line");
    let wanted = softcuda::ptx::isa::markdown();
    if std::env::var_os("SOFTCUDA_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{START}{wanted}{END}{after}")).expect("README.md can be written");
        return;
    }
    assert!(list == wanted, "README.md lists other instructions than the table: run this test with SOFTCUDA_BLESS=1");
}
