//! Kernels of many kinds with their data and their results: what the benches measure and the tests compare.

use super::support::Bench;
use softcuda::config::Config;
use softcuda::profile::Counters;

/// A launch and what it must leave.
pub(crate) struct Workload {
    /// Its name in reports.
    pub(crate) name: &'static str,
    kernel: &'static str,
    grid: [u32; 3],
    /// Threads in x and y.
    block: [u32; 2],
    bench: Bench,
    params: Vec<Vec<u8>>,
    out: u64,
    words: usize,
    /// (index, value) of words of the output that the host has computed, too.
    expected: Vec<(usize, u32)>,
}

#[allow(dead_code, reason = "each user has its part")]
impl Workload {
    /// Settings of the launches.
    pub(crate) fn config(&mut self) -> &mut Config {
        &mut self.bench.config
    }

    /// Runs it.
    pub(crate) fn run(&self) -> Counters {
        let params: Vec<&[u8]> = self.params.iter().map(Vec::as_slice).collect();
        self.bench
            .launch(self.kernel, self.grid, [self.block[0], self.block[1], 1], 0, &params)
            .unwrap_or_else(|fault| panic!("{}: {}", self.name, fault.text))
    }

    /// The output.
    pub(crate) fn output(&self) -> Vec<u32> {
        self.bench.download(self.out, self.words)
    }

    /// Fills the output with `value`.
    pub(crate) fn clear(&self, value: u32) {
        let words = vec![value; self.words];
        self.bench.memory.write(self.out, bytemuck::cast_slice(&words)).expect("the output is an allocation");
    }

    /// Runs it once and compares the output with the host's.
    pub(crate) fn verify(&self) -> Counters {
        self.clear(0);
        let counters = self.run();
        let output = self.output();
        assert!(!self.expected.is_empty());
        for &(index, value) in &self.expected {
            assert_eq!(output[index], value, "{}: word {index}", self.name);
        }
        counters
    }
}

/// A launch in the making.
struct Parts {
    bench: Bench,
    params: Vec<Vec<u8>>,
}

impl Parts {
    fn new(ptx: &str) -> Parts {
        Parts { bench: Bench::recording(ptx), params: Vec::new() }
    }

    fn pointer<T: bytemuck::Pod>(&mut self, data: &[T]) -> u64 {
        let address = self.bench.upload(data);
        self.params.push(address.to_le_bytes().to_vec());
        address
    }

    fn value<T: bytemuck::Pod>(&mut self, value: T) {
        self.params.push(bytemuck::bytes_of(&value).to_vec());
    }

    fn finish(
        self,
        (name, kernel): (&'static str, &'static str),
        grid: [u32; 3],
        block: [u32; 2],
        (out, words): (u64, usize),
        expected: Vec<(usize, u32)>,
    ) -> Workload {
        let Parts { bench, params } = self;
        Workload { name, kernel, grid, block, bench, params, out, words, expected }
    }
}

const PTX: &str = include_str!("../../benches/ptx/workloads.ptx");

/// A generator of numbers without a pattern.
fn random(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let mixed = (*state ^ *state >> 16).wrapping_mul(0x85eb_ca6b);
    mixed ^ mixed >> 13
}

/// Sums of f32.
pub(crate) fn reduction() -> Workload {
    let (count, blocks) = (1usize << 19, 16usize);
    let mut parts = Parts::new(PTX);
    let data: Vec<f32> = (0..count).map(|i| (i * 7 % 13) as f32 - 5.0).collect();
    parts.pointer(&data);
    let out = parts.pointer(&vec![0u32; blocks]);
    parts.value(count as i32);
    // Whole numbers: exact in any order.
    let expected = (0..blocks).map(|block| {
        let mine = data.chunks_exact(256).skip(block).step_by(blocks);
        (block, mine.flatten().sum::<f32>().to_bits())
    });
    let expected = expected.collect();
    parts.finish(("f32 reduction", "reduce"), [blocks as u32, 1, 1], [256, 1], (out, blocks), expected)
}

/// Straight-line f32.
pub(crate) fn chain() -> Workload {
    let (blocks, rounds, x) = (8u32, 64, 0.999f32);
    let mut parts = Parts::new(PTX);
    let words = 256 * blocks as usize;
    let out = parts.pointer(&vec![0u32; words]);
    parts.value(x);
    parts.value(rounds);
    let value = |index: usize| {
        let mut a = index as f32 * 0.001;
        let (mut b, mut c) = (1.0 + a, 0.5f32);
        for _ in 0..16 * rounds {
            a = a.mul_add(x, b);
            b += c;
            c *= x;
            a += -c;
        }
        a + b + c
    };
    let expected = (0..words).step_by(37).map(|index| (index, value(index).to_bits())).collect();
    parts.finish(("f32 chain", "chain"), [blocks, 1, 1], [256, 1], (out, words), expected)
}

/// Straight-line integers.
pub(crate) fn hash() -> Workload {
    let (blocks, rounds) = (8u32, 256u32);
    let mut parts = Parts::new(PTX);
    let words = 256 * blocks as usize;
    let out = parts.pointer(&vec![0u32; words]);
    parts.value(rounds);
    let value = |index: u32| {
        (0..rounds).fold(index, |mut h, round| {
            h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
            h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
            (h ^ h >> 16).wrapping_add(round ^ index)
        })
    };
    let expected = (0..words).map(|index| (index, value(index as u32))).collect();
    parts.finish(("integer hash", "hash"), [blocks, 1, 1], [256, 1], (out, words), expected)
}

/// Lookups in a search tree: threads of a warp take different ways of different lengths.
pub(crate) fn walk() -> Workload {
    let (blocks, count, nodes) = (8usize, 16usize, 4096usize);
    let mut state = 1;
    // Nodes are (key, left, right, value), inserted in random order.
    let mut tree: Vec<[u32; 4]> = vec![[random(&mut state), u32::MAX, u32::MAX, 1]];
    while tree.len() < nodes {
        let key = random(&mut state);
        let mut at = 0;
        loop {
            let side = if key < tree[at][0] { 1 } else { 2 };
            if tree[at][side] == u32::MAX {
                tree[at][side] = tree.len() as u32;
                tree.push([key, u32::MAX, u32::MAX, random(&mut state)]);
                break;
            }
            at = tree[at][side] as usize;
        }
    }
    let words = 128 * blocks;
    let keys: Vec<u32> = (0..words * count)
        .map(|i| if i % 3 == 0 { tree[random(&mut state) as usize % nodes][0] } else { random(&mut state) })
        .collect();
    let value = |thread: usize| {
        let mut found = 0u32;
        for &key in &keys[thread * count..(thread + 1) * count] {
            let mut at = 0;
            while at != u32::MAX {
                let [here, left, right, value] = tree[at as usize];
                (found, at) = match key.cmp(&here) {
                    std::cmp::Ordering::Less => (found.wrapping_add(value), left),
                    std::cmp::Ordering::Greater => (found.wrapping_mul(31) ^ value, right),
                    std::cmp::Ordering::Equal => (found ^ key, u32::MAX),
                };
            }
        }
        found
    };
    let expected = (0..words).map(|thread| (thread, value(thread))).collect();
    let mut parts = Parts::new(PTX);
    parts.pointer(&tree);
    parts.pointer(&keys);
    let out = parts.pointer(&vec![0u32; words]);
    parts.value(count as i32);
    parts.finish(("divergent tree walk", "walk"), [blocks as u32, 1, 1], [128, 1], (out, words), expected)
}

/// Arithmetic whose threads part at every step.
pub(crate) fn collatz() -> Workload {
    let (blocks, first) = (8u32, 1u32 << 20);
    let mut parts = Parts::new(PTX);
    let words = 128 * blocks as usize;
    let out = parts.pointer(&vec![0u32; words]);
    parts.value(first);
    let value = |index: u32| {
        let (mut n, mut steps, mut largest) = (first + index, 0u32, 0u32);
        while n != 1 {
            if n % 2 == 1 {
                n = n.wrapping_mul(3).wrapping_add(1);
                largest = largest.max(n);
                steps += 1;
            } else {
                n >>= 1;
                steps += 0x1_0000;
            }
        }
        steps ^ largest
    };
    let expected = (0..words).map(|index| (index, value(index as u32))).collect();
    parts.finish(("divergent arithmetic", "collatz"), [blocks, 1, 1], [128, 1], (out, words), expected)
}

/// Counts of bytes.
pub(crate) fn histogram() -> Workload {
    let mut state = 7;
    let data: Vec<u32> = (0..1 << 15).map(|_| random(&mut state) & random(&mut state)).collect();
    let mut bins = vec![0u32; 256];
    data.iter().flat_map(|word| word.to_le_bytes()).for_each(|byte| bins[usize::from(byte)] += 1);
    let mut parts = Parts::new(PTX);
    parts.pointer(&data);
    let out = parts.pointer(&[0u32; 256]);
    parts.value(data.len() as i32);
    let expected = bins.into_iter().enumerate().collect();
    parts.finish(("atomics histogram", "histogram"), [8, 1, 1], [256, 1], (out, 256), expected)
}

/// A product of f16 matrices on tensor cores, by tiles.
pub(crate) fn gemm() -> Workload {
    let (m, n, k) = (256usize, 128usize, 256usize);
    let mut state = 3;
    let mut matrix = |rows: usize| -> Vec<i32> { (0..rows * k).map(|_| (random(&mut state) % 9) as i32 - 4).collect() };
    let (a, b) = (matrix(m), matrix(n));
    let halves = |values: &[i32]| -> Vec<u16> {
        values.iter().map(|&value| half::f16::from_f32(value as f32).to_bits()).collect()
    };
    let mut parts = Parts::new(PTX);
    parts.pointer(&halves(&a));
    parts.pointer(&halves(&b));
    let out = parts.pointer(&vec![0u32; m * n]);
    parts.value(n as i32);
    parts.value(k as i32);
    // Small whole numbers: exact in any order.
    let value = |index: usize| -> i32 {
        let (row, column) = (index / n * k, index % n * k);
        (0..k).map(|l| a[row + l] * b[column + l]).sum()
    };
    let expected = (0..m * n).step_by(7).map(|index| (index, (value(index) as f32).to_bits())).collect();
    let grid = [(n / 64) as u32, (m / 64) as u32, 1];
    parts.finish(("f16 GEMM, 64 x 64 x 32 tiles", "gemm"), grid, [128, 1], (out, m * n), expected)
}

/// A product of f32 matrices by 16 x 16 tiles.
pub(crate) fn matmul() -> Workload {
    let size = 128usize;
    let mut state = 5;
    let mut matrix = || -> Vec<f32> { (0..size * size).map(|_| (random(&mut state) % 15) as f32 - 7.0).collect() };
    let (a, b) = (matrix(), matrix());
    let mut parts = Parts::new(include_str!("../../benches/ptx/matmul.ptx"));
    parts.pointer(&a);
    parts.pointer(&b);
    let out = parts.pointer(&vec![0u32; size * size]);
    [size as u32; 3].into_iter().for_each(|dimension| parts.value(dimension));
    let value = |index: usize| -> f32 {
        let (row, column) = (index / size, index % size);
        (0..size).map(|l| a[row * size + l] * b[l * size + column]).sum()
    };
    let expected = (0..size * size).step_by(5).map(|index| (index, value(index).to_bits())).collect();
    let grid = [size as u32 / 16, size as u32 / 16, 1];
    parts.finish(("f32 matmul, 16 x 16 tiles", "matmul16"), grid, [16, 16], (out, size * size), expected)
}

/// All whose figure is thread instructions a second.
#[allow(dead_code, reason = "each user has its part")]
pub(crate) fn all() -> Vec<Workload> {
    vec![matmul(), reduction(), chain(), hash(), walk(), collatz(), histogram(), gemm()]
}
