//! Settings, read once from the environment.

use crate::chip::{self, Architecture, Chip};
use crate::exec::mma::HostLevel;
use crate::profile::Profile;
use std::{
    borrow::Cow,
    num::NonZero,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// `SOFTCUDA_TENSOR`: arithmetic of mma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorMode {
    /// As the emulated tensor core computes, bit for bit.
    Exact,
    /// Plain f32 sums.
    Fast,
}

/// `SOFTCUDA_CHECK`: which checks a launch makes. Two are not among them, as nothing sensible could go on without: `mem` (bounds,
/// alignment, freed memory) keeps kernels from the host's memory, `sync` (barriers and member masks met by the wrong threads)
/// keeps threads from waiting for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// `async`: data of a `cp.async` are neither read nor overwritten before the wait that covers it, nor its source
    /// overwritten. Without the check a copy still moves its bytes at the wait, no earlier.
    pub asynchronous_copies: bool,
    /// `init`: no bytes of global, shared or local memory are read that have never been written. The driver keeps a record of
    /// what has been written only if this is on from the start.
    pub initialisation: bool,
    /// `race`: accesses of different threads to the same bytes of shared or global memory, one of them a write, are ordered.
    pub races: bool,
}

impl Checks {
    /// Every check.
    pub const ALL: Checks = Checks { asynchronous_copies: true, initialisation: true, races: true };
    /// Those that cost next to nothing: the default.
    pub const USUAL: Checks = Checks { asynchronous_copies: true, ..Checks::NONE };
    /// No check but those that are made always.
    pub const NONE: Checks = Checks { asynchronous_copies: false, initialisation: false, races: false };

    /// Whether accesses are followed one by one.
    pub(crate) fn watch(&self) -> bool {
        self.initialisation || self.races
    }

    /// Reads a list of names; `None` if one is unknown.
    fn from_names(names: &str) -> Option<Checks> {
        names.split(',').map(str::trim).try_fold(Checks::NONE, |checks, name| match name {
            // `mem` and `sync` are checked always.
            "none" | "mem" | "sync" => Some(checks),
            "async" => Some(Checks { asynchronous_copies: true, ..checks }),
            "init" => Some(Checks { initialisation: true, ..checks }),
            "race" => Some(Checks { races: true, ..checks }),
            "all" => Some(Checks::ALL),
            _ => None,
        })
    }
}

/// `SOFTCUDA_CLOCK`: what events measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time that the emulated chip would take, by the time model.
    Model,
    /// The host's time.
    Wall,
}

/// Warp instructions that a launch may execute unless `SOFTCUDA_INSTRUCTION_LIMIT` says otherwise: 10^12, minutes to an hour
/// of a host's time, so that no launch can hang for ever.
pub const DEFAULT_INSTRUCTION_LIMIT: u64 = 1_000_000_000_000;

/// Settings of the software device.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SOFTCUDA_THREADS`: host threads; default: all cores.
    pub threads: usize,
    /// `SOFTCUDA_INSTRUCTION_LIMIT`: warp instructions that a launch may execute; default: [`DEFAULT_INSTRUCTION_LIMIT`].
    pub instruction_limit: u64,
    /// `SOFTCUDA_TENSOR`: `exact` (default) or `fast`.
    pub tensor: TensorMode,
    /// `SOFTCUDA_CHECK`: names of checks with commas between them: `mem`, `sync`, `async`, `init`, `race`, `all`, `none`;
    /// default: [`Checks::USUAL`].
    pub checks: Checks,
    /// `SOFTCUDA_SCHEDULE`: `seed:N` leaves to chance, the same for the same N, in which order and for how long warps and
    /// blocks run, and whether a `cp.async` moves its data as early or as late as it may. Default: one fixed order, and late.
    pub schedule: Option<u64>,
    /// `SOFTCUDA_PROFILE`: names with commas between them: `memory` (default), `lines`, `replay`, `all`, `none`.
    pub profile: Profile,
    /// `SOFTCUDA_CLOCK`: what events measure: `model` (default) or `wall`.
    pub clock: Clock,
    /// `SOFTCUDA_CHIP`: the chip that stands for its architecture: a name that is built in, or the path of a file like those of
    /// `chips/`. Without `SOFTCUDA_ARCH` its architecture is the one to emulate.
    pub chip: Option<Chip>,
    /// `SOFTCUDA_REPORT`: a file that holds a JSON array with one object a launch that ended without a fault: its kernel,
    /// device, grid, block, registers and counters. It is started anew by the process's first launch, and complete after
    /// every launch. The last process that uses a name wins.
    pub report: Option<PathBuf>,
    /// Instruction set of the host to run on, the host's best if it has less; `None`: its best. Results do not depend on it.
    #[doc(hidden)]
    pub host_level: Option<HostLevel>,
    /// Run the warps of a block in lock-step while all their threads are together. Of a kernel without data races neither
    /// results nor counters depend on it, the order of atomic operations apart.
    #[doc(hidden)]
    pub lock_step: bool,
}

impl Config {
    /// The instruction set of the host to run on.
    pub(crate) fn level(&self) -> HostLevel {
        let best = HostLevel::detect();
        self.host_level.map_or(best, |level| level.min(best))
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            instruction_limit: DEFAULT_INSTRUCTION_LIMIT,
            tensor: TensorMode::Exact,
            checks: Checks::USUAL,
            schedule: None,
            profile: Profile::default(),
            clock: Clock::Model,
            chip: None,
            report: None,
            host_level: None,
            lock_step: true,
        }
    }
}

/// A setting that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?}: expected {expected}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub expected: Cow<'static, str>,
}

impl Config {
    /// Reads the `SOFTCUDA_*` variables; those that are unset or empty keep their defaults.
    pub fn from_environment() -> Result<Config, ConfigError> {
        Self::from_variables(variable)
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(threads) = number(&get, "SOFTCUDA_THREADS")? {
            config.threads = usize::try_from(threads).unwrap_or(usize::MAX);
        }
        if let Some(limit) = number(&get, "SOFTCUDA_INSTRUCTION_LIMIT")? {
            config.instruction_limit = limit;
        }
        config.tensor = match get("SOFTCUDA_TENSOR").as_deref() {
            None | Some("exact") => TensorMode::Exact,
            Some("fast") => TensorMode::Fast,
            Some(other) => {
                return Err(ConfigError {
                    variable: "SOFTCUDA_TENSOR",
                    value: other.to_owned(),
                    expected: "exact or fast".into(),
                });
            }
        };
        config.checks = chosen().checks.unwrap_or(config.checks);
        if let Some(value) = get("SOFTCUDA_CHECK") {
            config.checks = Checks::from_names(&value).ok_or(ConfigError {
                variable: "SOFTCUDA_CHECK",
                value,
                expected: "mem, sync, async, init, race, all or none, or several of them separated by commas".into(),
            })?;
        }
        if let Some(value) = get("SOFTCUDA_SCHEDULE") {
            let seed = value.strip_prefix("seed:").and_then(|seed| seed.parse().ok());
            let expected = "seed:N with a whole number N".into();
            config.schedule = Some(seed.ok_or(ConfigError { variable: "SOFTCUDA_SCHEDULE", value, expected })?);
        }
        if let Some(value) = get("SOFTCUDA_PROFILE") {
            config.profile = Profile::from_names(&value).ok_or(ConfigError {
                variable: "SOFTCUDA_PROFILE",
                value,
                expected: "memory, lines, replay, all or none, or several of them separated by commas".into(),
            })?;
        }
        config.clock = match get("SOFTCUDA_CLOCK").as_deref() {
            None | Some("model") => Clock::Model,
            Some("wall") => Clock::Wall,
            Some(other) => {
                let value = other.to_owned();
                return Err(ConfigError { variable: "SOFTCUDA_CLOCK", value, expected: "model or wall".into() });
            }
        };
        config.chip = chip_from_variables(&get)?;
        config.report = get("SOFTCUDA_REPORT").map(PathBuf::from);
        Ok(config)
    }
}

/// What a program has chosen for itself.
#[derive(Clone, Copy, Debug, Default)]
struct Chosen {
    checks: Option<Checks>,
    schedule: Option<u64>,
}

static CHOSEN: Mutex<Chosen> = Mutex::new(Chosen { checks: None, schedule: None });

fn chosen() -> Chosen {
    *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets which checks the launches of this process make unless `SOFTCUDA_CHECK` says otherwise. Comes before
/// [`install`](crate::install); later it has no effect.
pub fn set_checks(checks: Checks) {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).checks = Some(checks);
}

/// Leaves to chance, for the launches that start from now on, in which order warps and blocks run; `None`: as
/// `SOFTCUDA_SCHEDULE` says. Results must not depend on it.
pub fn set_schedule(seed: Option<u64>) {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).schedule = seed;
}

impl Config {
    /// These settings with the schedule that the program has set last.
    pub(crate) fn scheduled(&self) -> Cow<'_, Config> {
        match chosen().schedule {
            None => Cow::Borrowed(self),
            seed => Cow::Owned(Config { schedule: seed, ..self.clone() }),
        }
    }
}

/// The devices to emulate when the program does not say: `SOFTCUDA_ARCH`, `sm_80` by default, several separated by
/// commas; that list `SOFTCUDA_DEVICES` times, once by default.
pub fn architectures_from_environment() -> Result<Vec<Architecture>, ConfigError> {
    architectures_from_variables(variable)
}

fn architectures_from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Vec<Architecture>, ConfigError> {
    const MOST: u64 = 64;
    let architectures = match get("SOFTCUDA_ARCH") {
        None => vec![chip_from_variables(&get)?.map_or(Architecture::Sm80, |chip| chip.architecture)],
        Some(list) => list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| ConfigError {
            variable: "SOFTCUDA_ARCH",
            value: list.clone(),
            expected: "sm_80, sm_89 or sm_90, or several of them separated by commas".into(),
        })?,
    };
    let copies = number(&get, "SOFTCUDA_DEVICES")?.unwrap_or(1);
    if copies.saturating_mul(architectures.len() as u64) > MOST {
        let value = copies.to_string();
        return Err(ConfigError { variable: "SOFTCUDA_DEVICES", value, expected: "at most 64 devices in all".into() });
    }
    Ok(architectures.repeat(copies as usize))
}

fn chip_from_variables(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Chip>, ConfigError> {
    let Some(value) = get("SOFTCUDA_CHIP") else { return Ok(None) };
    let names = chip::file::names().collect::<Vec<_>>().join(", ");
    chip::file::load(&value).map(Some).map_err(|error| ConfigError {
        variable: "SOFTCUDA_CHIP",
        value,
        expected: format!("{names} or the path of a file that describes a chip: {}", error.problem).into(),
    })
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

fn number(get: &impl Fn(&str) -> Option<String>, variable: &'static str) -> Result<Option<u64>, ConfigError> {
    let Some(value) = get(variable) else {
        return Ok(None);
    };
    match value.trim().parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(ConfigError { variable, value, expected: "a positive whole number".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::from_variables(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn unset_variables_give_the_defaults() {
        let config = Config::from_variables(|_| None).unwrap();
        assert!(config.threads >= 1);
        assert_eq!(config.instruction_limit, 1_000_000_000_000);
        assert_eq!(config.tensor, TensorMode::Exact);
        assert_eq!(config.checks, Checks::USUAL);
        assert_eq!(config.report, None);
    }

    #[test]
    fn set_variables_are_read() {
        assert_eq!(with("SOFTCUDA_THREADS", "3").unwrap().threads, 3);
        assert_eq!(with("SOFTCUDA_INSTRUCTION_LIMIT", "1000").unwrap().instruction_limit, 1000);
        assert_eq!(with("SOFTCUDA_SCHEDULE", "seed:7").unwrap().schedule, Some(7));
        assert_eq!(with("SOFTCUDA_TENSOR", "fast").unwrap().tensor, TensorMode::Fast);
        for (names, checks) in [
            ("none", Checks::NONE),
            ("mem", Checks::NONE),
            ("async", Checks::USUAL),
            ("mem, sync, async", Checks::USUAL),
            ("race", Checks { races: true, ..Checks::NONE }),
            ("async,init,race", Checks::ALL),
            ("all", Checks::ALL),
        ] {
            assert_eq!(with("SOFTCUDA_CHECK", names).unwrap().checks, checks, "{names}");
        }
    }

    #[test]
    fn what_is_measured_and_by_which_clock_is_set_by_name() {
        let profile = |names| with("SOFTCUDA_PROFILE", names).unwrap().profile;
        assert_eq!(profile("lines, replay"), Profile { lines: true, replay: true, ..Profile::NONE });
        assert_eq!((profile("none"), profile("all")), (Profile::NONE, Profile::ALL));
        assert!(with("SOFTCUDA_PROFILE", "lanes").is_err());
        assert_eq!(with("SOFTCUDA_CLOCK", "wall").unwrap().clock, Clock::Wall);
        assert_eq!(with("SOFTCUDA_CLOCK", "model").unwrap().clock, Clock::Model);
        let text = with("SOFTCUDA_CLOCK", "host").unwrap_err().to_string();
        assert_eq!(text, "SOFTCUDA_CLOCK=\"host\": expected model or wall");
        assert_eq!(with("SOFTCUDA_CHIP", "h100-sxm").unwrap().chip.map(|chip| chip.multiprocessors), Some(132));
    }

    #[test]
    fn devices_are_copies_of_the_list_of_architectures() {
        let devices = |arch: &'static str, copies: &'static str| {
            architectures_from_variables(|asked| match asked {
                "SOFTCUDA_ARCH" => (!arch.is_empty()).then(|| arch.to_owned()),
                "SOFTCUDA_DEVICES" => (!copies.is_empty()).then(|| copies.to_owned()),
                _ => None,
            })
        };
        use Architecture::{Sm80, Sm89, Sm90};
        assert_eq!(devices("", ""), Ok(vec![Sm80]));
        assert_eq!(devices("", "2"), Ok(vec![Sm80, Sm80]));
        assert_eq!(devices("sm_89,sm_90", "2"), Ok(vec![Sm89, Sm90, Sm89, Sm90]));
        assert_eq!(devices("sm_70", "").unwrap_err().variable, "SOFTCUDA_ARCH");
        assert_eq!(devices("", "0").unwrap_err().variable, "SOFTCUDA_DEVICES");
        assert_eq!(devices("", "65").unwrap_err().variable, "SOFTCUDA_DEVICES");
    }

    #[test]
    fn a_bad_value_names_the_variable_and_what_it_may_be() {
        let text = with("SOFTCUDA_THREADS", "0").unwrap_err().to_string();
        assert_eq!(text, "SOFTCUDA_THREADS=\"0\": expected a positive whole number");
        assert!(with("SOFTCUDA_INSTRUCTION_LIMIT", "-1").is_err());
        assert!(with("SOFTCUDA_TENSOR", "exakt").is_err());
        let text = with("SOFTCUDA_SCHEDULE", "seed=1").unwrap_err().to_string();
        assert_eq!(text, "SOFTCUDA_SCHEDULE=\"seed=1\": expected seed:N with a whole number N");
        let text = with("SOFTCUDA_CHECK", "mem,rice").unwrap_err().to_string();
        assert_eq!(
            text,
            "SOFTCUDA_CHECK=\"mem,rice\": expected mem, sync, async, init, race, all or none, or several of them separated by commas"
        );
    }
}
