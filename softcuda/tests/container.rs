//! Readers of fatbins and cubins, on files that nvcc 13 wrote for `container/kernels.cu` (PTX for compute_80, code for sm_80 and
//! sm_90a) in each of its compression modes. Expected figures are those of `ptxas -v` and `cuobjdump --dump-resource-usage`.

use proptest::prelude::*;
use softcuda::container::{
    Format, cubin,
    fatbin::{self, Entry, Kind},
};

const NONE: &[u8] = include_bytes!("container/none.fatbin");
const MODES: &[(&str, &[u8])] = &[
    ("default", include_bytes!("container/default.fatbin")),
    ("size", include_bytes!("container/size.fatbin")),
    ("speed", include_bytes!("container/speed.fatbin")),
    ("none", NONE),
];

fn contents(entries: &[Entry]) -> Vec<(Kind, u32, Option<char>, &[u8])> {
    entries.iter().map(|e| (e.kind, e.architecture, e.suffix, e.payload.as_slice())).collect()
}

#[test]
fn every_compression_mode_holds_the_same() {
    let expected = fatbin::read(NONE).unwrap();
    let kinds: Vec<_> = expected.iter().map(|e| (e.kind, e.architecture, e.suffix, e.version)).collect();
    assert_eq!(
        kinds,
        [(Kind::Elf, 80, None, (1, 8)), (Kind::Ptx, 80, None, (9, 0)), (Kind::Elf, 90, Some('a'), (1, 8)),]
    );
    for (mode, bytes) in MODES {
        let entries = fatbin::read(bytes).unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(contents(&entries), contents(&expected), "{mode}");
    }
    // The modes do differ: zstd for the PTX by default, LZ4 for speed, zstd for everything for size.
    let flags = |bytes: &[u8]| -> Vec<u64> {
        let entries = fatbin::read(bytes).unwrap();
        entries.iter().map(|e| e.flags & 0xF000).collect()
    };
    assert_eq!(flags(MODES[0].1), [0, 0x8000, 0]);
    assert_eq!(flags(MODES[1].1), [0x8000, 0x8000, 0x8000]);
    assert_eq!(flags(MODES[2].1), [0, 0x2000, 0]);
    assert_eq!(flags(MODES[3].1), [0, 0, 0]);
}

#[test]
fn the_ptx_inside_parses() {
    let entries = fatbin::read(MODES[0].1).unwrap();
    let text = std::str::from_utf8(&entries[1].payload).unwrap();
    let module = softcuda::ptx::parse(text).unwrap();
    let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["plain", "heavy"]);
    assert!(module.functions.iter().all(|f| f.entry && f.body.is_some()));
}

#[test]
fn the_header_alone_tells_the_size() {
    for (_, bytes) in MODES {
        assert_eq!(Format::of(bytes[..4].try_into().unwrap()), Format::Fatbin);
        assert_eq!(fatbin::total_size(&bytes[..fatbin::HEADER_BYTES]).unwrap(), bytes.len());
    }
    let entries = fatbin::read(NONE).unwrap();
    for entry in entries.iter().filter(|e| e.kind == Kind::Elf) {
        let header = &entry.payload[..cubin::HEADER_BYTES];
        assert_eq!(Format::of(header[..4].try_into().unwrap()), Format::Cubin);
        assert_eq!(cubin::total_size(header).unwrap(), entry.payload.len());
    }
    assert_eq!(Format::of(*b".ver"), Format::Text);
    assert_eq!(Format::of(0x466243B1u32.to_le_bytes()), Format::FatbinWrapper);
}

#[test]
fn regions_may_follow_one_another() {
    let mut bytes = MODES[2].1.to_vec();
    bytes.extend([0; 8]);
    bytes.extend(MODES[1].1);
    bytes.extend([0; 24]);
    let entries = fatbin::read(&bytes).unwrap();
    assert_eq!(contents(&entries[..3]), contents(&entries[3..]));
}

#[test]
fn resources_are_those_that_ptxas_reports() {
    let entries = fatbin::read(NONE).unwrap();
    for (entry, banks) in [(&entries[0], [364, 372]), (&entries[2], [540, 548])] {
        let cubin = cubin::read(&entry.payload).unwrap();
        assert_eq!(cubin.architecture, entry.architecture);
        assert_eq!(cubin.constant_bytes, 64);
        let find = |name: &str| cubin.kernels.iter().find(|k| k.name == name).unwrap().clone();
        assert_eq!(cubin.kernels.len(), 2);
        assert_eq!(
            find("plain"),
            cubin::Kernel {
                name: "plain".into(),
                registers: 8,
                static_shared_bytes: 0,
                local_bytes: 0,
                constant_bank_bytes: banks[0],
                max_threads: None,
                barriers: 0,
                param_bytes: 12,
            }
        );
        assert_eq!(
            find("heavy"),
            cubin::Kernel {
                name: "heavy".into(),
                registers: 32,
                static_shared_bytes: 1088,
                local_bytes: 40,
                constant_bank_bytes: banks[1],
                max_threads: Some(128),
                barriers: 4,
                param_bytes: 20,
            }
        );
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let with = |at: usize, bytes: &[u8]| {
        let mut copy = MODES[2].1.to_vec();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        fatbin::read(&copy).unwrap_err().to_string()
    };
    assert_eq!(with(0, b"MZ"), "fatbin at byte 0x0: 0xba555a4d is not the magic number of a fatbin, 0xba55ed50");
    assert_eq!(with(4, &[7]), "fatbin at byte 0x4: version 7 with a header of 16 bytes is unknown");
    assert_eq!(
        with(24, &u64::MAX.to_le_bytes()),
        "fatbin at byte 0x10: an entry of 64 + 18446744073709551615 bytes does not fit its region"
    );
    assert_eq!(
        fatbin::read(&NONE[..1000]).unwrap_err().to_string(),
        "fatbin at byte 0x10: 23336 bytes from 0x10 on exceed the 0x3e8 bytes of the image"
    );
    assert_eq!(
        cubin::read(b"\x7fELF").unwrap_err().to_string(),
        "cubin at byte 0x0: 64 bytes from 0x0 on exceed the 0x4 bytes of the image"
    );
    assert_eq!(
        cubin::read(&NONE[..64]).unwrap_err().to_string(),
        "cubin at byte 0x0: not a 64-bit ELF file of machine type 190"
    );
}

/// Bytes with a few of them replaced, and perhaps cut off.
fn mangled(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = bytes.len();
    // Headers are small; half of the changes go to the first bytes.
    let place = prop_oneof![0..length, 0..200usize.min(length)];
    let value = prop_oneof![any::<u8>(), Just(0u8), Just(0xFF)];
    let cut = prop_oneof![4 => Just(length), 1 => 0..length];
    (prop::collection::vec((place, value), 0..12), cut).prop_map(move |(changes, cut)| {
        let mut copy = bytes.clone();
        for (at, value) in changes {
            copy[at] = value;
        }
        copy.truncate(cut);
        copy
    })
}

fn any_fatbin() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(MODES).prop_flat_map(|(_, bytes)| mangled(bytes.to_vec()))
}

fn any_cubin() -> impl Strategy<Value = Vec<u8>> {
    let cubins: Vec<Vec<u8>> = fatbin::read(NONE).unwrap().into_iter().map(|e| e.payload).collect();
    prop::sample::select(vec![cubins[0].clone(), cubins[2].clone()]).prop_flat_map(mangled)
}

/// Fields at which a reader of ELF files must not believe what it reads: header, section headers.
fn any_cubin_with_damaged_tables() -> impl Strategy<Value = Vec<u8>> {
    let cubin = fatbin::read(NONE).unwrap().swap_remove(0).payload;
    let table = u64::from_le_bytes(cubin[0x28..0x30].try_into().unwrap()) as usize;
    let place = prop_oneof![0..64usize, table..cubin.len()];
    prop::collection::vec((place, any::<u8>()), 1..4).prop_map(move |changes| {
        let mut copy = cubin.clone();
        changes.iter().for_each(|(at, value)| copy[*at] = *value);
        copy
    })
}

proptest! {
    #[test]
    fn mangled_fatbins_are_read_or_refused(bytes in any_fatbin()) {
        if let Err(error) = fatbin::read(&bytes) {
            prop_assert!(error.offset <= bytes.len(), "{error}");
        }
    }

    #[test]
    fn mangled_cubins_are_read_or_refused(bytes in prop_oneof![any_cubin(), any_cubin_with_damaged_tables()]) {
        if let Err(error) = cubin::read(&bytes) {
            prop_assert!(error.offset <= bytes.len(), "{error}");
        }
    }
}
