//! One layer's way to its FP8 projection, as plans: norm with quantisation, then the product; captured in a graph and
//! replayed. On the first GPU, else on the simulator.
//!
//! ```sh
//! cargo run --release --example operations
//! ```

use rorqual::driver::Device;
use rorqual::num::{E4m3, bf16};
use rorqual::ops::{Quantized, capture, gemm, norm};

const TOKENS: usize = 4;
const HIDDEN: usize = 512;
const OUTPUTS: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::best()?;
    let stream = device.stream()?;

    // Rules are checked and kernels are loaded here, once.
    let norm = norm::RmsNorm::<E4m3>::plan(&device, &norm::NormSpec::new(HIDDEN as u32, 1e-6))?;
    let project = gemm::Dense::<E4m3>::plan(&device, &gemm::DenseSpec::new(OUTPUTS as u32, HIDDEN as u32))?;
    println!("{norm}\n{project}");

    let mut x = stream.upload([TOKENS, HIDDEN], &[bf16::from_f32(1.0); TOKENS * HIDDEN])?;
    let norm_weight = stream.upload(HIDDEN, &[1.0f32; HIDDEN])?;
    let codes = vec![E4m3::from_f32(0.5); OUTPUTS * HIDDEN];
    let weight = stream.upload_block_scaled([OUTPUTS, HIDDEN], &codes, &[0.125; 2 * 4])?;

    // What is captured has its memory already.
    let mut normed = Quantized {
        codes: stream.allocate([TOKENS, HIDDEN])?,
        scales: stream.allocate([TOKENS, HIDDEN.div_ceil(128)])?,
    };
    let mut out = stream.allocate::<bf16>([TOKENS, OUTPUTS])?;
    let mut graph = capture(&stream, |stream| {
        norm.run_into(stream, &x, &norm_weight, &mut normed)?;
        project.run_into(stream, &normed, &weight, &mut out)
    })?;

    for scale in [1.0, -3.0] {
        stream.write(&mut x, &[bf16::from_f32(scale); TOKENS * HIDDEN])?;
        graph.launch(&stream)?;
        println!("rows of {scale}: {}", stream.download(&out)?[0]);
    }
    println!("bad input on the device: {}", project.flags(&stream)?);
    Ok(())
}
