//! How GPU kernels are written in Rust: a typed builder that emits verified PTX.
//!
//! A kernel is a function that writes instructions into a [`Builder`]. [`Value`]s have types and operators, arithmetic of
//! constants is done while the kernel is generated, branches, loops and roles are closures. What is told of the
//! model, such as extents and formats, is an ordinary Rust value, so a specialised kernel is an ordinary function
//! call; what is known only at launch is an argument.
//!
//! | to read | for |
//! |---|---|
//! | [`contract`] | arguments, grid and shared memory: what a launch must know, stated once |
//! | [`builder`], [`value`], [`mod@pointer`], [`control`] | instructions, arithmetic, memory, branches |
//! | [`element`], [`bits`], [`exponential`], [`top_k`] | what memory and registers hold; counts of bits, `exp`, selection of the best |
//! | [`layout`], [`swizzle`], [`tile`], [`run`] | where elements lie, as values |
//! | [`warp`], [`barrier`], [`shared`], [`atomic`] | what threads do together |
//! | [`async_copy`], [`mbarrier`], [`pipeline`], [`tma`] | copies behind the back of the threads |
//! | [`mma`], [`mod@format`] | matrix products; FP8, bf16 and f16 as f32 |
//! | [`error`] | why there is no kernel |
//!
//! A mistake does not panic: [`generate`] returns the first one, with the kernel, its specialisation and the source
//! line of the generator that made it. What it returns otherwise has passed every check of `rorqual-ptx`.
//!
//! # A complete product
//! D = A * B^T in bf16 with sums in f32; a warp computes 16 rows by 8 columns from global memory. It runs here on the
//! simulator, as the text that a driver would get.
//!
//! ```
//! use rorqual_codegen::contract::{Arguments, Extent, In, Out};
//! use rorqual_codegen::element::Bf16;
//! use rorqual_codegen::mma::mma_sync::{BF16, COLUMNS, ROWS, d_coordinate};
//! use rorqual_codegen::{Header, generate};
//!
//! rorqual_codegen::arguments! {
//!     /// Arguments of the product.
//!     pub struct ProductArguments, ProductParameters {
//!         /// `[m, k]`
//!         a: In<Bf16>,
//!         /// `[n, k]`
//!         b: In<Bf16>,
//!         /// `[m, n]`
//!         d: Out<f32>,
//!         /// Rows of A and D, a multiple of 16.
//!         m: u32,
//!     }
//! }
//! const N: u32 = 24;
//! const K: u32 = 64;
//!
//! let target = "sm_80".parse()?;
//! let header = Header::new("product_n24_k64", (N, K), target, 32);
//! let header = header.grid(N / COLUMNS, Extent::argument("m").ceil_divide(ROWS), 1);
//! let kernel = generate::<ProductArguments>(header, |builder, arguments| {
//!     let (group, member) = (builder.lane() / 4, builder.lane() % 4);
//!     let (row, column) = (builder.cta(1) * ROWS, builder.cta(0) * COLUMNS);
//!     let sum = builder.zero_accumulators();
//!     builder.for_each(0, K, BF16.k, |k| {
//!         // A register holds two neighbours along k; the coordinates of lane 0 say where, the lane moves them.
//!         let along_k = k + member * BF16.per_register();
//!         let a = [0, 1, 2, 3].map(|register| {
//!             let (down, right) = BF16.a_coordinate(0, register);
//!             let place = (row + group + down).multiply_add(K, along_k + right);
//!             arguments.a.at(place).load_words(1)[0]
//!         });
//!         let b = [0, 1].map(|register| {
//!             let (right, _) = BF16.b_coordinate(0, register);
//!             let place = (column + group).multiply_add(K, along_k + right);
//!             arguments.b.at(place).load_words(1)[0]
//!         });
//!         BF16.multiply_add(&sum, &a, &b);
//!     });
//!     for (register, sum) in (0..).zip(sum) {
//!         let (down, right) = d_coordinate(0, register);
//!         let place = (row + group + down).multiply_add(N, column + member * 2 + right);
//!         arguments.d.at(place).store(sum.get());
//!     }
//! })?;
//!
//! // From here on nothing knows how the kernel was made: the text is parsed again.
//! let mut device = rorqual_sim::Device::new(target)?;
//! let module = device.load(&kernel.text())?;
//! let m = 32;
//! let [a, b] = [m * K, N * K].map(|count| (0..count).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>());
//! let bytes = |values: &[f32]| -> Vec<u8> {
//!     values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
//! };
//! let arguments = ProductArguments {
//!     a: device.allocate_from("a", &bytes(&a))?.0,
//!     b: device.allocate_from("b", &bytes(&b))?.0,
//!     d: device.allocate("d", u64::from(4 * m * N))?.0,
//!     m,
//! };
//! let grid = kernel.contract.grid(&arguments.pack(), 1)?;
//! let launch = rorqual_sim::Launch::new(&module, "product_n24_k64").ctas(grid).threads([32, 1, 1]);
//! let launch = launch.argument(arguments.a).argument(arguments.b).argument(arguments.d).argument(m);
//! let outcome = device.launch(&launch)?;
//! assert!(outcome.reports.is_empty());
//!
//! let d = device.read(rorqual_sim::DevicePointer(arguments.d), (4 * m * N) as usize)?;
//! for (at, bytes) in d.as_chunks().0.iter().enumerate() {
//!     let (row, column) = (at / N as usize, at % N as usize);
//!     let rows = a.chunks(K as usize).nth(row).zip(b.chunks(K as usize).nth(column));
//!     let expected: f32 = rows.map_or(0.0, |(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum());
//!     assert_eq!(f32::from_le_bytes(*bytes), expected);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod async_copy;
pub mod atomic;
pub mod barrier;
pub mod bits;
pub mod builder;
pub mod contract;
pub mod control;
pub mod division;
pub mod element;
pub mod error;
pub mod exponential;
pub mod format;
pub mod layout;
pub mod mbarrier;
pub mod mma;
pub mod pipeline;
pub mod pointer;
pub mod run;
pub mod shared;
pub mod swizzle;
pub mod tile;
pub mod tma;
pub mod top_k;
pub mod value;
pub mod warp;

pub use builder::{Builder, Header, Kernel, generate};
pub use error::GenerateError;
pub use pointer::{Global, Pointer, Shared};
pub use value::{Predicate, Value, Variable};
