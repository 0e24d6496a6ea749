//! The checkers find what is wrong in small programs, say so in the same words every time, and are silent about their twins
//! that do the same rightly.
mod programs;
mod schedule;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/workloads.rs"]
mod workloads;

use programs::{Expected, Outcome, Program, all};
use softcuda::config::{Checks, Config};

fn config(checks: Checks) -> Config {
    Config { checks, ..Config::default() }
}

/// What is different from what a program's comment says.
fn wrong(program: &Program, config: &Config) -> Option<String> {
    let outcome = program.run(config);
    let agrees = match (&program.expected, &outcome) {
        (Expected::Clean, Outcome::Silent) => true,
        (Expected::Fault(text), Outcome::Fault(found)) => text == found,
        (Expected::Benign(text), Outcome::Benign(found)) => text == found,
        _ => false,
    };
    (!agrees).then(|| format!("{}: expected {:?}\nfound {outcome}", program.name, program.expected))
}

fn assert_as_expected(config: &Config) {
    let wrong: Vec<String> = all().iter().filter_map(|program| wrong(program, config)).collect();
    assert!(wrong.is_empty(), "{} programs\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn there_are_fifty_faults_and_as_many_clean_twins() {
    let programs = all();
    let count = |what: fn(&Expected) -> bool| programs.iter().filter(|program| what(&program.expected)).count();
    let (faults, clean) =
        (count(|expected| matches!(expected, Expected::Fault(_))), count(|expected| *expected == Expected::Clean));
    assert!(faults >= 50 && clean >= 50, "{faults} faults, {clean} clean");
    assert!(count(|expected| matches!(expected, Expected::Benign(_))) >= 3);
}

#[test]
fn every_program_ends_as_its_comment_says() {
    assert_as_expected(&Config { threads: 1, ..config(Checks::ALL) });
}

#[test]
fn reports_do_not_depend_on_the_number_of_host_threads() {
    assert_as_expected(&Config { threads: 4, ..config(Checks::ALL) });
}

#[test]
fn reports_do_not_depend_on_running_warps_in_lock_step() {
    // Which of two accesses comes first does: only that there is a fault is compared.
    for program in all() {
        let alone = program.run(&Config { lock_step: false, ..config(Checks::ALL) });
        let agrees = match program.expected {
            Expected::Clean => matches!(alone, Outcome::Silent),
            Expected::Fault(_) => matches!(alone, Outcome::Fault(_)),
            Expected::Benign(_) => matches!(alone, Outcome::Benign(_)),
        };
        assert!(agrees, "{}: {alone}", program.name);
    }
}

#[test]
fn the_kernels_of_the_benches_are_clean_and_right_with_all_checks() {
    for mut workload in workloads::all() {
        let expected = workload.verify();
        workload.config().checks = Checks::ALL;
        assert_eq!(workload.verify(), expected, "{}: other counters", workload.name);
    }
}

#[test]
fn a_check_that_is_off_finds_nothing() {
    let of_file = |file: &str, checks: Checks| {
        for program in all().iter().filter(|program| program.file == file) {
            let outcome = program.run(&config(checks));
            assert!(matches!(outcome, Outcome::Silent), "{}: {outcome}", program.name);
        }
    };
    of_file("shared_races", Checks { races: false, ..Checks::ALL });
    of_file("global_races", Checks { races: false, ..Checks::ALL });
    of_file("exchanges", Checks { races: false, ..Checks::ALL });
    of_file("initialisation", Checks { initialisation: false, ..Checks::ALL });
}
