//! The rules of the house, enforced: the rule of one name, file budgets, and what else a reader may rely on.
//!
//! Each rule is a test on this repository; `each_rule_can_fail` breaks a small made-up repository in every way.

#[path = "repository/made_up.rs"]
mod made_up;
#[path = "repository/manifests.rs"]
mod manifests;
#[path = "repository/rules.rs"]
mod rules;
#[path = "repository/tree.rs"]
mod tree;

use std::path::Path;
use tree::Tree;

fn repository() -> Tree {
    Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[track_caller]
fn assert_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_op_has_one_name_in_five_places() {
    let listed: Vec<String> = llm_kernels::verify::ops().map(|op| op.path.to_owned()).collect();
    assert_none(rules::one_name(&repository(), &listed));
}

#[test]
fn every_op_is_tested_in_every_section() {
    assert_none(rules::test_sections(&repository()));
}

#[test]
fn every_rust_file_is_compiled() {
    assert_none(rules::reachable(&repository()));
}

#[test]
fn every_file_is_within_its_budget() {
    assert_none(rules::budgets(&repository()));
}

#[test]
fn inline_ptx_is_in_one_folder() {
    assert_none(rules::asm_in_one_folder(&repository()));
}

#[test]
fn no_unfinished_work_is_marked() {
    assert_none(rules::no_open_ends(&repository()));
}

#[test]
fn the_workspace_is_built_and_tested_as_a_whole() {
    assert_none(manifests::workspace(&repository()));
}

#[test]
fn the_continuous_check_runs_the_command_of_the_readme() {
    assert_none(manifests::continuous_check(&repository()));
}

#[test]
fn the_program_in_the_readme_is_an_example_that_compiles() {
    assert_none(manifests::readme_example(&repository()));
}
