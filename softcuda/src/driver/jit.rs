//! Options of loading and linking: buffers for messages, and what steers a compiler of machine code.
//!
//! There is no such compiler here. What has a meaning without one is done: the limit of registers, the target, the time.
//! The rest is checked and listed in the information log.

use super::{
    abi::{In, Out},
    error::{Code, Error},
};
use crate::chip::Chip;
use std::{ffi::c_char, time::Instant};

/// Names of `CUjit_option`, in the order of their numbers.
const NAMES: [&str; 36] = [
    "MAX_REGISTERS",
    "THREADS_PER_BLOCK",
    "WALL_TIME",
    "INFO_LOG_BUFFER",
    "INFO_LOG_BUFFER_SIZE_BYTES",
    "ERROR_LOG_BUFFER",
    "ERROR_LOG_BUFFER_SIZE_BYTES",
    "OPTIMIZATION_LEVEL",
    "TARGET_FROM_CUCONTEXT",
    "TARGET",
    "FALLBACK_STRATEGY",
    "GENERATE_DEBUG_INFO",
    "LOG_VERBOSE",
    "GENERATE_LINE_INFO",
    "CACHE_MODE",
    "NEW_SM3X_OPT",
    "FAST_COMPILE",
    "GLOBAL_SYMBOL_NAMES",
    "GLOBAL_SYMBOL_ADDRESSES",
    "GLOBAL_SYMBOL_COUNT",
    "LTO",
    "FTZ",
    "PREC_DIV",
    "PREC_SQRT",
    "FMA",
    "REFERENCED_KERNEL_NAMES",
    "REFERENCED_KERNEL_COUNT",
    "REFERENCED_VARIABLE_NAMES",
    "REFERENCED_VARIABLE_COUNT",
    "OPTIMIZE_UNUSED_DEVICE_VARIABLES",
    "POSITION_INDEPENDENT_CODE",
    "MIN_CTA_PER_SM",
    "MAX_THREADS_PER_BLOCK",
    "OVERRIDE_DIRECTIVE_VALUES",
    "SPLIT_COMPILE",
    "BINARY_LOADER_THREAD_COUNT",
];

const MAX_REGISTERS: u32 = 0;
const WALL_TIME: u32 = 2;
const INFO_BUFFER: u32 = 3;
const INFO_BYTES: u32 = 4;
const ERROR_BUFFER: u32 = 5;
const ERROR_BYTES: u32 = 6;
const OPTIMIZATION_LEVEL: u32 = 7;
const TARGET: u32 = 9;
const GLOBAL_SYMBOLS: std::ops::RangeInclusive<u32> = 17..=19;
/// Added to a target's number where it is for that architecture only (`sm_90a`) or its family (`sm_100f`).
const SPECIFIC_TARGET: u32 = 0x1_0000;
const FAMILY_TARGET: u32 = 0x2_0000;

/// A buffer of the caller's, and where to write how much of it was used.
#[derive(Default)]
struct Buffer {
    text: Option<usize>,
    bytes: usize,
    used: Option<usize>,
}

/// The options that a caller gave.
#[derive(Default)]
pub(super) struct Options {
    /// Registers of a thread at most.
    pub(super) max_registers: Option<u32>,
    target: Option<u32>,
    wall_time: Option<usize>,
    info: Buffer,
    error: Buffer,
    /// What was accepted and changes nothing.
    without_effect: Vec<&'static str>,
}

impl Options {
    /// Reads the list of options and the slots of their values.
    pub(super) fn read(count: u32, options: In<u32>, values: Out<usize>) -> Result<Options, Error> {
        let mut read = Options::default();
        for position in 0..count as usize {
            // Each option has a slot for its value; a size's slot takes the used size when the call ends.
            if values.is_null() {
                return Err(Code::INVALID_VALUE.into());
            }
            let slot = values.address() + position * size_of::<usize>();
            let value = In::<usize>::from_address(slot).get()?;
            let number = options.get_at(position)?;
            read.option(number, value, slot)?;
        }
        Ok(read)
    }

    fn option(&mut self, number: u32, value: usize, slot: usize) -> Result<(), Error> {
        // A 32-bit number in a slot for pointers: the upper half is whatever it was.
        let small = value as u32;
        let Some(name) = NAMES.get(number as usize) else {
            return Err(Error::new(Code::INVALID_VALUE, format!("there is no option {number}")));
        };
        match number {
            MAX_REGISTERS if small > 0 => self.max_registers = Some(small),
            WALL_TIME => self.wall_time = Some(slot),
            INFO_BUFFER => self.info.text = Some(value),
            ERROR_BUFFER => self.error.text = Some(value),
            INFO_BYTES => self.info.set_size(small, slot),
            ERROR_BYTES => self.error.set_size(small, slot),
            OPTIMIZATION_LEVEL if small > 4 => {
                return Err(Error::new(Code::INVALID_VALUE, format!("optimization level {small}, at most 4")));
            }
            TARGET => self.target = Some(small),
            _ if GLOBAL_SYMBOLS.contains(&number) => {
                return Err(Error::report(Code::NOT_SUPPORTED, format!("option CU_JIT_{name} is not supported")));
            }
            _ => self.without_effect.push(name),
        }
        Ok(())
    }

    /// An error if the options ask for code that does not run on `chip`.
    pub(super) fn check_target(&self, chip: &Chip) -> Result<(), Error> {
        let Some(target) = self.target else { return Ok(()) };
        let number = chip.architecture.number();
        let asked = target & 0xffff;
        let fits = match target & !0xffff {
            0 => asked / 10 == number / 10 && asked <= number,
            SPECIFIC_TARGET => asked == number,
            FAMILY_TARGET => asked / 10 == number / 10 && asked <= number,
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(Error::report(
                Code::NO_BINARY_FOR_GPU,
                format!("CU_JIT_TARGET {target} asks for code that does not run on sm_{number}"),
            )),
        }
    }

    /// Writes the messages, and the time since `start`.
    pub(super) fn report(&self, start: Instant, information: &[String], errors: &str) {
        let mut lines: Vec<String> = information.to_vec();
        if !self.without_effect.is_empty() {
            lines.push(format!("accepted, without effect: {}", self.without_effect.join(", ")));
        }
        let lines: String = lines.iter().map(|line| format!("softcuda info    : {line}\n")).collect();
        self.info.write(&lines);
        self.error.write(errors);
        if let Some(slot) = self.wall_time {
            Out::<f32>::from_address(slot).set_if_wanted(start.elapsed().as_secs_f32() * 1000.0);
        }
    }
}

impl Buffer {
    fn set_size(&mut self, value: u32, slot: usize) {
        self.bytes = value as usize;
        self.used = Some(slot);
    }

    fn write(&self, text: &str) {
        let Some(out) = self.text.map(Out::<c_char>::from_address) else { return };
        if out.set_text(text, self.bytes).is_ok()
            && let Some(used) = self.used
        {
            Out::<usize>::from_address(used).set_if_wanted(text.len().min(self.bytes - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Architecture;

    #[test]
    fn a_target_must_run_on_the_chip() {
        let fits = |target: u32, architecture: Architecture| {
            let options = Options { target: Some(target), ..Options::default() };
            options.check_target(architecture.chip()).is_ok()
        };
        assert!(fits(80, Architecture::Sm80) && fits(80, Architecture::Sm89) && fits(86, Architecture::Sm89));
        assert!(!fits(80, Architecture::Sm90) && !fits(89, Architecture::Sm80) && !fits(75, Architecture::Sm80));
        assert!(fits(SPECIFIC_TARGET + 90, Architecture::Sm90) && !fits(SPECIFIC_TARGET + 80, Architecture::Sm89));
    }
}
