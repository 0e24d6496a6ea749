//! The parts of `build.rs` that decide: which files are kernels, what recompiles them, what ptxas said, who may spill.

#[path = "../build/cache.rs"]
#[expect(dead_code, reason = "the folder of the user's cache is not under test")]
mod cache;
#[path = "../build/policy.rs"]
mod policy;
#[path = "../build/ptxas.rs"]
mod ptxas;
#[path = "../build/recipe.rs"]
mod recipe;
#[path = "../build/sources.rs"]
mod sources;
#[path = "../build/table.rs"]
mod table;

use ptxas::Resources;
use recipe::Object;
use sources::Source;
use std::path::{Path, PathBuf};

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("llm-kernels-build-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn source(path: &str) -> Source {
    Source::parse(path).unwrap()
}

#[test]
fn the_suffix_of_a_file_name_decides_the_variant() {
    assert_eq!(source("attention/flash_forward.cu").op, "attention/flash_forward");
    assert_eq!(source("attention/flash_forward.cu").variant, "");
    assert_eq!(source("attention/flash_forward_sm90a.cu").op, "attention/flash_forward");
    assert_eq!(source("attention/flash_forward_sm90a.cu").variant, "sm90a");
    assert_eq!(source("quant/gemm_small.cu").op, "quant/gemm_small");
    assert_eq!(source("quant/gemm_sm90a.cu").file_name(), "quant.gemm_sm90a.cu");
    assert!(Source::parse("flash.cu").unwrap_err().contains("kernels/<family>/<op>.cu"));
    assert!(Source::parse("a/b/c.cu").is_err());
}

#[test]
fn every_cu_file_is_found_and_no_header() {
    let folder = Folder::new("discover").with("b/two.cu", "").with("a/one.cu", "").with("common/x.cuh", "");
    let found: Vec<_> = sources::discover(&folder.0).unwrap().into_iter().map(|source| source.path).collect();
    assert_eq!(found, ["a/one.cu", "b/two.cu"]);
    assert_eq!(sources::discover(Path::new("/no/such/folder")).unwrap(), []);
}

#[test]
fn includes_are_followed_through_headers_and_cycles() {
    let folder = Folder::new("closure")
        .with("attention/op.cu", "#include <cuda_fp16.h>\n  #  include \"common/a.cuh\"\n#include \"near.cuh\"\n")
        .with("attention/near.cuh", "#include \"../common/b.cuh\"")
        .with("common/a.cuh", "#include \"b.cuh\"\n#include \"cuda_bf16.h\"")
        .with("common/b.cuh", "#include \"a.cuh\"")
        .with("common/unused.cuh", "");
    let files = sources::closure(&folder.0, "attention/op.cu").unwrap();
    assert_eq!(files, ["attention/near.cuh", "attention/op.cu", "common/a.cuh", "common/b.cuh"]);
}

#[test]
fn an_include_that_cannot_be_followed_is_an_error_with_its_line() {
    let folder = Folder::new("macro").with("a/op.cu", "int x;\n#include HEADER\n");
    assert!(sources::closure(&folder.0, "a/op.cu").unwrap_err().starts_with("kernels/a/op.cu:2:"));
}

#[test]
fn touching_a_header_changes_the_keys_of_its_users_alone() {
    let folder = Folder::new("key")
        .with("a/one.cu", "#include \"common/x.cuh\"\n")
        .with("a/two.cu", "// no include\n")
        .with("common/x.cuh", "1");
    let architectures = ["80".to_owned(), "90".to_owned()];
    let key = |path: &str, compiler: &str| recipe::key(&folder.0, &source(path), compiler, &architectures).unwrap();
    let (one, two) = (key("a/one.cu", "13.0"), key("a/two.cu", "13.0"));
    assert_eq!(one, key("a/one.cu", "13.0"));
    std::fs::write(folder.0.join("common/x.cuh"), "2").unwrap();
    assert_ne!(one, key("a/one.cu", "13.0"));
    assert_eq!(two, key("a/two.cu", "13.0"));
    assert_ne!(two, key("a/two.cu", "13.1"), "another compiler");
    let fewer = recipe::key(&folder.0, &source("a/two.cu"), "13.0", &architectures[..1]).unwrap();
    assert_ne!(two, fewer, "other architectures");
}

#[test]
fn parts_of_a_key_do_not_run_together() {
    let key = |parts: &[&str]| cache::key(parts.iter().map(|part| part.as_bytes()));
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    assert_ne!(key(&["ab"]), key(&["ab", ""]));
}

#[test]
fn a_damaged_cache_entry_is_compiled_again() {
    let folder = Folder::new("cache");
    let compiled = cache::Compiled { image: vec![1, 2, 3], report: "report".into() };
    assert_eq!(cache::load(&folder.0, "k"), None);
    cache::store(&folder.0, "k", &compiled).unwrap();
    cache::store(&folder.0, "k", &compiled).unwrap();
    assert_eq!(cache::load(&folder.0, "k"), Some(compiled.clone()));
    std::fs::write(folder.0.join("objects/k/image.fatbin"), [1, 2]).unwrap();
    assert_eq!(cache::load(&folder.0, "k"), None);
    cache::store(&folder.0, "k", &compiled).unwrap();
    assert_eq!(cache::load(&folder.0, "k"), Some(compiled));
}

#[test]
fn architectures_come_from_the_variable_and_are_checked() {
    let known = "sm_75\nsm_80\nsm_89\nsm_90\nsm_120\n";
    assert_eq!(recipe::architectures(None, known).unwrap(), ["80", "90"]);
    assert_eq!(recipe::architectures(Some("120, 89;sm_80,89"), known).unwrap(), ["80", "89", "120"]);
    for bad in ["75", "91", "ampere", "80,ninety"] {
        assert!(recipe::architectures(Some(bad), known).unwrap_err().contains("LLM_KERNELS_ARCHS"), "{bad}");
    }
}

#[test]
fn baseline_kernels_share_one_ptx_and_special_ones_have_their_own() {
    let architectures = ["80".to_owned(), "90".to_owned()];
    let baseline = recipe::gencode(&source("a/op.cu"), &architectures);
    assert_eq!(baseline, ("arch=compute_80".into(), "arch=compute_80,code=[compute_80,sm_80,sm_90]".into()));
    let special = recipe::gencode(&source("a/op_sm90a.cu"), &architectures);
    assert_eq!(special, ("arch=compute_90a".into(), "arch=compute_90a,code=[compute_90a,sm_90a]".into()));
}

#[test]
fn the_compiler_release_is_read() {
    let text = "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/compiler";
    assert_eq!(recipe::release(text), Some((13, 0)));
    assert_eq!(recipe::release("gcc 12"), None);
}

#[test]
fn no_path_of_the_building_machine_stays_in_the_ptx() {
    let ptx = "\t.file\t1 \"/home/me/x/kernels/attention/op.cu\"\n\
               \t.file\t2 \"/home/me/x/kernels/./common/types.cuh\"\n\
               \t.file\t3 \"/opt/cuda/bin/..//include/cuda_fp16.hpp\"\n\
               \t.loc\t1 7 3\n";
    let clean = "\t.file\t1 \"kernels/attention/op.cu\"\n\
                 \t.file\t2 \"kernels/common/types.cuh\"\n\
                 \t.file\t3 \"cuda/cuda_fp16.hpp\"\n\
                 \t.loc\t1 7 3\n";
    assert_eq!(recipe::relative_files(ptx, "/home/me/x/kernels"), clean);
}

const REPORT: &str = "\
op.cu(3): warning #177-D: variable \"x\" was declared but never referenced
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'flash_f16' for 'sm_90a'
ptxas info    : Function properties for flash_f16
    1200 bytes stack frame, 24 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1200 bytes cumulative stack size
ptxas info    : Compile time = 79.106 ms
ptxas info    : Compiling entry function 'flash_f16' for 'sm_80'
ptxas info    : Function properties for flash_f16
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 49152 bytes smem, 372 bytes cmem[0]
ptxas info    : Function properties for __internal_helper
    8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
";

#[test]
fn the_ptxas_report_is_read_per_kernel_and_architecture() {
    let (instances, remarks) = ptxas::parse(REPORT).unwrap();
    let sm80 = Resources { sm: 80, registers: 40, static_shared_bytes: 49152, spill_bytes: 0, local_bytes: 0 };
    let sm90 = Resources { sm: 90, registers: 255, static_shared_bytes: 0, spill_bytes: 60, local_bytes: 1200 };
    assert_eq!(instances["flash_f16"], [sm80, sm90]);
    assert_eq!(instances.len(), 1);
    assert_eq!(remarks.len(), 1, "the compiler's warning is kept: {remarks:?}");
}

#[test]
fn a_ptxas_report_without_registers_is_an_error() {
    let text = "ptxas info    : Compiling entry function 'f' for 'sm_80'\n";
    assert!(ptxas::parse(text).unwrap_err().contains("no registers for f"));
    assert!(ptxas::parse("ptxas info    : Compiling entry function f\n").is_err());
}

fn object() -> Object {
    let (instances, _) = ptxas::parse(REPORT).unwrap();
    Object { source: source("attention/flash.cu"), image: vec![0; 4], instances, remarks: vec!["slow".into()] }
}

#[test]
fn a_spill_is_a_warning_and_an_error_when_strict() {
    let warnings = policy::judge(&[object()], &[], false).unwrap();
    assert!(warnings.iter().any(|line| line.contains("flash_f16 on sm_90") && line.contains("spills 60 bytes")));
    assert!(warnings.contains(&"kernels/attention/flash.cu: slow".to_owned()));
    let error = policy::judge(&[object()], &[], true).unwrap_err();
    assert!(error.contains("flash_f16 on sm_90") && !error.contains("sm_80"));
}

#[test]
fn an_exception_needs_a_reason_and_a_spill() {
    assert_eq!(policy::read(Path::new("/no/such/list")).unwrap(), []);
    let exceptions = policy::parse("# comment\n\nflash_f16 sm_90 waits for wgmma\n").unwrap();
    assert_eq!(exceptions[0].reason, "waits for wgmma");
    assert_eq!(policy::judge(&[object()], &exceptions, true).unwrap(), ["kernels/attention/flash.cu: slow"]);
    let stale = policy::parse("flash_f16 sm_80 no longer\nflash_f16 sm_90 yes\n").unwrap();
    let warnings = policy::judge(&[object()], &stale, true).unwrap();
    assert!(warnings.iter().any(|line| line.contains("flash_f16 sm_80 does not spill")));
    assert!(policy::parse("flash_f16 sm_90\n").unwrap_err().contains("expected `instance sm_80 reason`"));
    assert!(policy::parse("flash_f16 90 why\n").is_err());
}

#[test]
fn the_table_names_every_instance_with_its_resources() {
    let object = object();
    let text = table::render(&[table::Entry { object: &object, image: "/out/a.fatbin".into() }]);
    for part in [
        "op: \"attention/flash\"",
        "variant: \"\"",
        "include_bytes!(\"/out/a.fatbin\")",
        "EmbeddedInstance { name: \"flash_f16\"",
        "InstanceResources { sm: 80, registers: 40, static_shared_bytes: 49152, spill_bytes: 0, local_bytes: 0 }",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(table::render(&[]).contains("KERNELS: &[EmbeddedKernel] = &[\n]"));
}
