//! The software device: see the crate `softcuda`.

use std::sync::atomic::{AtomicBool, Ordering};

pub use softcuda::chip::Architecture;

use crate::{Error, Result};

/// The chips that the software device offers, by ordinal.
const CHIPS: [Architecture; 3] = [Architecture::Sm80, Architecture::Sm89, Architecture::Sm90];

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Makes the software device this process's CUDA driver; the ordinal of the chip.
pub(crate) fn install(architecture: Architecture) -> Result<usize> {
    softcuda::install(&CHIPS).map_err(|error| Error::Software { reason: error.to_string() })?;
    INSTALLED.store(true, Ordering::Release);
    Ok(CHIPS.iter().position(|&chip| chip == architecture).unwrap_or(0))
}

/// Makes all checks, those that cost time too, unless `SOFTCUDA_CHECK` says otherwise. Comes before [`install`].
pub(crate) fn check_everything() {
    softcuda::set_checks(softcuda::config::Checks::ALL);
}

/// Leaves to chance in which order the warps and blocks of the launches to come run.
pub(crate) fn shuffle(seed: Option<u64>) {
    softcuda::set_schedule(seed);
}

/// Makes the software device take bytes for never written, whatever they hold.
pub(crate) fn forget_written(address: u64, bytes: usize) {
    // Only memory of the device is ever given here.
    softcuda::forget_written(address, bytes as u64);
}

/// Whether the software device is this process's driver.
pub(crate) fn installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// The chip called `sm_80`, `sm_89` or `sm_90`.
pub(crate) fn by_name(name: &str) -> Option<Architecture> {
    CHIPS.into_iter().find(|chip| name.strip_prefix("sm_") == Some(&chip.number().to_string()))
}
