//! Settings of the environment that stay for the whole process: the chip, and the clock of events.

use super::alone;
use cudarc::driver::{CudaContext, sys};
use softcuda::chip::{Architecture, file};
use std::time::Duration;

#[test]
fn a_chip_of_a_file_stands_for_its_architecture() {
    let path = std::env::temp_dir().join(format!("softcuda-chip-{}.toml", std::process::id()));
    let text = file::text("rtx-4090").expect("built in");
    std::fs::write(&path, text.replace("multiprocessors = 128", "multiprocessors = 7")).unwrap();
    let name = path.to_str().expect("a name in UTF-8");
    alone("settings::a_chip_of_a_file_stands_for_its_architecture", &[("SOFTCUDA_CHIP", name)], || {
        softcuda::install(&[Architecture::Sm80, Architecture::Sm89]).unwrap();
        let count = |ordinal| {
            let context = CudaContext::new(ordinal).unwrap();
            let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
            context.attribute(attribute).unwrap()
        };
        assert_eq!((count(0), count(1)), (108, 7));
    });
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_chip_that_there_is_not_is_an_error_of_the_installation() {
    let test = "settings::a_chip_that_there_is_not_is_an_error_of_the_installation";
    alone(test, &[("SOFTCUDA_CHIP", "a100")], || {
        let text = softcuda::install(&[Architecture::Sm80]).unwrap_err().to_string();
        assert!(
            text.contains("SOFTCUDA_CHIP=\"a100\": expected a100-sxm-80gb, rtx-4090, h100-sxm or the path"),
            "{text}"
        );
    });
}

/// Milliseconds between two events with a pause between them.
fn pause() -> f32 {
    softcuda::install(&[Architecture::Sm80]).unwrap();
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    let record = || stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    let start = record();
    std::thread::sleep(Duration::from_millis(5));
    start.elapsed_ms(&record()).unwrap()
}

#[test]
fn events_measure_the_host_if_they_are_told_to() {
    let test = "settings::events_measure_the_host_if_they_are_told_to";
    alone(test, &[("SOFTCUDA_CLOCK", "wall")], || assert!(pause() >= 5.0));
}

#[test]
fn what_the_host_does_takes_no_modelled_time() {
    alone("settings::what_the_host_does_takes_no_modelled_time", &[], || assert_eq!(pause(), 0.0));
}
