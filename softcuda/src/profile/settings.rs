//! What is measured beyond the counters that are always kept.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

/// `SOFTCUDA_PROFILE`: what a launch measures beyond its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `memory`: traffic of device memory, by a model of the L2 cache.
    pub memory: bool,
    /// `lines`: counts of every PTX line and source line are kept in the launch's report.
    pub lines: bool,
    /// `replay`: the time of a launch is found by replaying some of its blocks warp by warp, not by the bounds alone.
    pub replay: bool,
    /// Run so many blocks of each launch only, spread evenly, and scale: for time alone, since **results are incomplete**.
    /// Launches whose blocks talk to one another run whole.
    pub sample: Option<NonZero<u32>>,
    /// The time is that of so many grids like the launch's side by side that share nothing: of more batches or heads than are
    /// run. Counters are those of the one that runs.
    pub copies: NonZero<u32>,
}

impl Profile {
    /// Counters alone.
    pub const NONE: Profile =
        Profile { memory: false, lines: false, replay: false, sample: None, copies: NonZero::<u32>::MIN };
    /// Everything, of all blocks.
    pub const ALL: Profile = Profile { memory: true, lines: true, replay: true, ..Profile::NONE };

    /// Reads a list of names; `None` if one is unknown.
    pub(crate) fn from_names(names: &str) -> Option<Profile> {
        names.split(',').map(str::trim).try_fold(Profile::NONE, |profile, name| match name {
            "none" => Some(profile),
            "memory" => Some(Profile { memory: true, ..profile }),
            "lines" => Some(Profile { lines: true, ..profile }),
            "replay" => Some(Profile { replay: true, ..profile }),
            "all" => Some(Profile::ALL),
            _ => None,
        })
    }
}

impl Default for Profile {
    /// Counters and memory traffic.
    fn default() -> Profile {
        Profile { memory: true, ..Profile::NONE }
    }
}

static CHOSEN: Mutex<Option<Profile>> = Mutex::new(None);

/// Sets what the launches of this process measure from now on; `None`: what `SOFTCUDA_PROFILE` says. Returns what was set.
pub fn set_profile(profile: Option<Profile>) -> Option<Profile> {
    std::mem::replace(&mut *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner), profile)
}

/// What is set, or else `configured`.
pub(crate) fn profile_or(configured: Profile) -> Profile {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(configured)
}
