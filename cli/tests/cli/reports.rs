//! `info`, `check` and `bench`.

use serde_json::Value;

use crate::{File, json, succeeds};

#[test]
fn info_shows_the_device() {
    let info = json(&["info", "--json"]);
    assert_eq!(info["library"], env!("CARGO_PKG_VERSION"));
    assert!(info["multiprocessors"].as_u64().unwrap() > 0);
    assert!(info["shared_bytes_per_block"].as_u64().unwrap() >= 99 << 10);
    let text = succeeds(&["info"]);
    assert!(text.contains(info["device"].as_str().unwrap()), "{text}");
}

#[test]
fn info_lists_every_kernel_without_spills_and_with_its_occupancy() {
    let info = json(&["info", "--kernels", "--json", "--device", "software:sm_80"]);
    let kernels = info["kernels"].as_array().unwrap();
    for name in ["f16_d64", "f16_d128", "f16_d256", "bf16_d64", "bf16_d128", "bf16_d256"] {
        let name = format!("flash_forward_{name}");
        let rows: Vec<_> = kernels.iter().filter(|row| row["name"] == name.as_str()).collect();
        let chips: Vec<_> = rows.iter().map(|row| row["chip"].as_str().unwrap()).collect();
        assert_eq!(chips, ["sm_80", "sm_90"], "{name}");
        for row in &rows {
            assert_eq!((&row["spill_bytes"], &row["local_bytes"]), (&0.into(), &0.into()), "{name}");
            assert!((1..=255).contains(&row["registers"].as_u64().unwrap()));
        }
        let occupancy = &rows[0]["occupancy"];
        assert!(occupancy["blocks_per_multiprocessor"].as_u64().unwrap() >= 1, "{occupancy}");
        assert_eq!(rows[1]["occupancy"], Value::Null, "an sm_80 chip does not run sm_90 code");
    }
    assert!(succeeds(&["info", "--kernels"]).contains("flash_forward_bf16_d128"));
}

#[test]
fn check_compares_every_case_with_the_reference() {
    let report = json(&["check", "attention", "--json"]);
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= 10);
    assert_eq!(report["passed"], true);
    for row in rows {
        assert_eq!(row["agrees"], true, "{row}");
        for output in row["outputs"].as_array().unwrap() {
            assert_eq!(output["mismatches"], 0);
            assert!(output["error_of_allowed"].as_f64().unwrap() <= 1.0, "{row}");
        }
    }
}

#[test]
fn bench_writes_the_same_rows_as_json_and_csv() {
    let file = File::new("bench.csv");
    let report = json(&["bench", "attention/flash_forward", "--json", "--csv", file.path()]);
    let rows = report["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    let text = std::fs::read_to_string(&file.0).unwrap();
    assert_eq!(text.lines().count(), rows.len() + 1);
    assert!(text.starts_with("device,op,case,shape,dtype,error_of_allowed,seconds,"));
    for row in rows {
        // What depends on lengths in device memory is not known beforehand.
        let lengths = row["case"].as_str().unwrap().contains("prompts");
        assert!(if lengths { row["costs"]["flops"].is_null() } else { row["costs"]["flops"].as_f64().unwrap() > 0.0 });
        if report["software"] == true {
            // Modelled, from the launch itself: the same on every machine, and nothing of this one's time.
            assert!(row["costs"]["seconds"].as_f64().unwrap() < 1e-2);
            assert!(lengths || row["costs"]["roofline_fraction"].as_f64().unwrap() < 1.0);
            assert!(row["modelled"]["bounds"]["tensor"].as_f64().unwrap() > 0.0);
            let stalls = row["modelled"]["stalls"].as_object().unwrap();
            assert!(stalls.values().map(|part| part.as_f64().unwrap()).sum::<f64>() < 1.0);
            assert_eq!(row["modelled"]["hot_ptx_lines"].as_array().unwrap().len(), 10);
            assert!(row["counters"].as_object().is_some_and(|counters| !counters.is_empty()));
        } else {
            assert!(row["costs"]["seconds"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn modelled_times_are_as_near_to_published_ones_as_the_readme_says() {
    let report = json(&["model", "--published", "--longest", "512", "--device", "software:sm_80", "--json"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    // What README.md says of all rows; these are the cheap ones.
    assert!(report["largest_error"].as_f64().unwrap() < 0.16, "{report}");
    assert!(report["median_error"].as_f64().unwrap() < 0.125, "{report}");
    for row in rows {
        let tflops: Vec<f64> =
            row["passes"].as_array().unwrap().iter().map(|pass| pass["tflop_per_s"].as_f64().unwrap()).collect();
        // No pass makes up for the other: backward is slower, and neither is beyond the tensor cores.
        assert!(
            tflops.len() == 2 && 312.0 > tflops[0] && tflops[0] > tflops[1] && tflops[1] > 0.25 * tflops[0],
            "{row}"
        );
    }
}
