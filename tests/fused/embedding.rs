//! `fused::embedding`.

use super::*;
use llm_kernels::fused::embedding::reference::{plain, reference};
use llm_kernels::fused::embedding::{Args, Operands, Problem, Shape, embedding};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Embedding {
    table: Tensor,
    ids: Tensor,
    out: Tensor,
    scale: f32,
}

impl Embedding {
    /// `[m, n, d]`, with numbers all over the table.
    fn new(table: DType, out: DType, [m, n, d]: [usize; 3]) -> Self {
        let ids: Vec<f64> = (0..m).map(|i| ((i * 37 + 11) % n) as f64).collect();
        Self {
            table: Tensor::normal(1, table, &[n, d]),
            ids: Tensor::new(DType::I32, &[m], &ids),
            out: Tensor::normal(2, out, &[m, d]),
            scale: 25.25,
        }
    }

    fn operands(&self) -> Operands {
        Operands { table: self.table.operand(0), ids: self.ids.operand(1), out: self.out.operand(2) }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), self.scale).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, out: &mut DeviceTensor) -> Result<()> {
        let (table, ids) = (self.table.upload(), self.ids.upload());
        let args = Args { table: table.view()?, ids: ids.view()?, out: out.view_mut()?, scale: self.scale };
        embedding(queue(), args)?;
        queue().synchronize()
    }

    fn run(&self) -> HostTensor {
        let _shared = shared();
        let mut out = self.out.upload();
        self.launch(&mut out).unwrap_or_else(|error| panic!("{error}"));
        download(&out, "out")
    }

    #[track_caller]
    fn assert_agrees(&self) -> HostTensor {
        let (out, problem) = (self.run(), self.problem());
        let [exact, plain] = [reference, plain].map(|of| of(&problem, &self.table.values, &self.ids.values));
        assert_close(&out, &exact, &plain, &problem);
        out
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/embedding");
    }

    #[test]
    fn every_pair_of_types_agrees() {
        for (table, out) in FLOATS.iter().flat_map(|&table| FLOATS.map(|out| (table, out))) {
            Embedding::new(table, out, [9, 40, 72]).assert_agrees();
        }
    }

    #[test]
    fn without_a_scale_rows_are_copied_bit_for_bit() {
        for dtype in FLOATS {
            let call = Embedding { scale: 1.0, ..Embedding::new(dtype, dtype, [5, 7, 640]) };
            let rows = call.run().to_f64();
            for (row, &id) in rows.chunks(640).zip(&call.ids.values) {
                assert_eq!(row, &call.table.values[id as usize * 640..][..640]);
            }
        }
    }
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(40))]

        #[test]
        fn any_table_agrees(
            m in 1..30_usize, n in 1..60_usize, d in 1..2500_usize, types in 0..9_usize, gap in 0..9_usize,
        ) {
            let mut call = Embedding::new(FLOATS[types % 3], FLOATS[types / 3], [m, n, d]);
            call.table = call.table.strided(&[d + gap, 1]);
            call.assert_agrees();
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn numbers_outside_the_table_give_nan_and_read_nothing() {
        let mut call = Embedding::new(F16, F32, [6, 10, 640]);
        let outside = [10.0, -1.0, f64::from(i32::MAX), f64::from(i32::MIN), 9.0, 0.0];
        call.ids = Tensor::new(DType::I32, &[6], &outside);
        let rows = call.assert_agrees().to_f64();
        for (row, values) in rows.chunks(640).enumerate() {
            assert!(values.iter().all(|x| x.is_nan() == (row < 4)));
        }
        // Of an empty table nothing is read.
        let empty = Embedding {
            table: Tensor::new(F16, &[0, 640], &[]),
            ids: Tensor::new(DType::I32, &[6], &[0.0; 6]),
            ..call
        };
        assert!(empty.run().to_f64().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn lengths_around_a_tile_agree() {
        for d in [1, 7, 8, 2047, 2048, 2049, 4104] {
            Embedding::new(F16, F16, [3, 5, d]).assert_agrees();
            Embedding::new(F32, BF16, [3, 5, d]).assert_agrees();
        }
        assert!(Embedding::new(F32, F32, [0, 5, 8]).run().bytes.is_empty());
    }

    #[test]
    fn any_shape_and_strides_of_the_result_give_the_same_bits() {
        let call = Embedding::new(BF16, BF16, [12, 20, 64]);
        let rows = call.run();
        let mut batched = call.clone();
        batched.ids.layout = Layout::contiguous(&[3, 4]).unwrap();
        batched.out.layout = Layout::strided(&[3, 4, 64], &[64, 200, 1]).unwrap();
        assert_eq!(batched.run().bytes, rows.bytes);
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let mut operands = Embedding::new(F16, F16, [6, 10, 64]).operands();
        change(&mut operands);
        let text = Problem::check(&operands, 1.0).expect_err("bad input was taken").to_string();
        text.strip_prefix("fused/embedding: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.table.layout = shape(&[10, 65])), "table has d 65, expected 64 (= out)");
        assert_eq!(error(|t| t.table.layout = shape(&[640])), "table has rank 1, expected 2 [n, d]");
        assert_eq!(error(|t| t.ids.dtype = DType::I64), "ids is i64, expected i32");
        assert_eq!(error(|t| t.ids.layout = shape(&[5])), "ids has a dimension of size 5, expected 6 (= out)");
        assert_eq!(error(|t| t.ids.layout = shape(&[6, 1])), "ids has rank 2, expected 1 [..]");
        assert_eq!(error(|t| t.out.dtype = DType::U8), "out has dtype u8; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.out.address = t.table.address), "out overlaps table in memory");
        let gaps = Layout::strided(&[6], &[2]).unwrap();
        assert!(error(|t| t.ids.layout = gaps).starts_with("ids has strides [2]"));
        let shape = Shape { m: 1, n: 1, d: 1 };
        let scale = Problem::new(F16, F16, shape, f32::INFINITY).unwrap_err().to_string();
        assert_eq!(scale, "fused/embedding: scale is inf, expected a finite number");
    }
}

mod plan {
    use super::*;
    use llm_kernels::fused::embedding::plan;

    #[test]
    fn every_instance_is_embedded() {
        assert_embedded("fused/embedding", 3);
    }

    #[test]
    fn a_block_has_a_tile_of_a_row() {
        let problem = Problem::new(BF16, BF16, Shape { m: 10, n: 100, d: 4096 }, 1.0).unwrap();
        let plan = plan(&problem, &Limits::of_capability(8, 0)).unwrap();
        assert_eq!((plan.launch.instance, plan.launch.grid, plan.tiles_per_row), ("embedding_unit8", [20, 1, 1], 2));
    }
}

mod counters {
    use super::*;
    use llm_kernels::fused::embedding::plan;

    #[test]
    fn every_row_is_moved_once_in_whole_sectors_and_instructions_are_few() {
        for (table, out, ceiling) in [(F16, F16, 20.0), (BF16, F32, 25.0), (F32, F32, 20.0)] {
            let call = Embedding::new(table, out, [64, 100, 2048]);
            let mut device = call.out.upload();
            let Some(counters) = count(|| call.launch(&mut device)) else {
                return;
            };
            let needed = plan(&call.problem(), queue().device().limits()).unwrap().resources.bytes_needed.unwrap();
            let moved = get(&counters, "global_bytes");
            // Each warp of a row reads its number.
            assert!(moved <= 1.02 * needed, "{moved} bytes moved, {needed} needed");
            assert_instructions(&counters, 64 * 2048, ceiling, &(table, out));
        }
    }
}
