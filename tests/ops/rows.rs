//! Row-wise plans: embedding, norm, quantisation, choice of tokens.

use super::{BF16, close, codes, devices, download, numbers, upload, upload_bf16};
use rorqual::model::config::ScaleFormat as ReferenceScale;
use rorqual::model::sampling::Sampling;
use rorqual::num::{E4m3, bf16};
use rorqual::ops::embedding::{Embedding, EmbeddingSpec};
use rorqual::ops::norm::{AddRmsNorm, NormSpec, RmsNorm};
use rorqual::ops::quant::{Dequantize, PerBlock, PerTokenGroup};
use rorqual::ops::sample::{Argmax, Sample, Settings};
use rorqual::ops::{ScaleFormat, device_error};
use rorqual::reference::Numerics;
use rorqual::reference::ops::rms_norm;
use rorqual::reference::quantize::{quantize_1x128, quantize_128x128};

#[test]
fn norm() {
    for (device, stream) in devices() {
        let (x, weight) = (numbers(1, 3 * 200), numbers(2, 200));
        let expected = rms_norm(&x, &weight, 1e-6, Numerics::KERNEL);
        let plan = RmsNorm::<bf16>::plan(&device, &NormSpec::new(200, 1e-6)).expect("a plan");
        let on_device = upload_bf16(&stream, [3, 200], &x);
        let weight_on_device = upload(&stream, 200, &weight);
        let y = plan.run(&stream, &on_device, &weight_on_device).expect("a run");
        close(&download(&stream, &y), &expected, BF16);

        let plan = AddRmsNorm::<E4m3>::plan(&device, &NormSpec::new(200, 1e-6)).expect("a plan");
        let half: Vec<f32> = x.iter().map(|value| value / 2.0).collect();
        let addend = upload_bf16(&stream, [3, 200], &half);
        let mut residual = upload_bf16(&stream, [3, 200], &half);
        let y = plan.run(&stream, &addend, &mut residual, &weight_on_device).expect("a run");
        assert_eq!(download(&stream, &residual), x);
        let (scales, y_codes) =
            (stream.download(&y.scales).expect("scales"), stream.download(&y.codes).expect("codes"));
        let scale_of = |index: usize| scales[index / 200 * 2 + index % 200 / 128];
        let y: Vec<f32> = y_codes.iter().enumerate().map(|(at, code)| code.to_f32() * scale_of(at)).collect();
        // Half a unit in the last place of e4m3.
        close(&y, &expected, 1.0 / 8.0);
        assert!(plan.flags(&stream).expect("no flags").is_empty());
    }
}

#[test]
fn quantisation() {
    for (device, stream) in devices() {
        let x = numbers(3, 5 * 300);
        let on_device = upload_bf16(&stream, [5, 300], &x);
        let plan = PerTokenGroup::<bf16>::plan(&device, 300, ScaleFormat::PowerOfTwo).expect("a plan");
        let given = plan.run(&stream, &on_device).expect("a run");
        let expected = quantize_1x128(&x, 300, ReferenceScale::Ue8m0);
        assert_eq!(stream.download(&given.codes).expect("codes"), codes(&expected.codes));
        assert_eq!(stream.download(&given.scales).expect("scales"), expected.scales);

        let weight = numbers(4, 130 * 200);
        let plan = PerBlock::<f32>::plan(&device, 130, 200, ScaleFormat::F32).expect("a plan");
        let given = plan.run(&stream, &upload(&stream, [130, 200], &weight)).expect("a run");
        let expected = quantize_128x128(&weight, 130, 200, ReferenceScale::F32);
        assert_eq!(stream.download(&given.codes).expect("codes"), codes(&expected.codes));
        assert_eq!(stream.download(&given.scales).expect("scales"), expected.scales);

        let plan = Dequantize::plan(&device, 130, 200).expect("a plan");
        let again = plan.run(&stream, &given).expect("a run");
        close(&download(&stream, &again), &weight, 1.0 / 8.0);
    }
}

#[test]
fn embedding() {
    for (device, stream) in devices() {
        let table = numbers(5, 7 * 24);
        let spec = EmbeddingSpec { vocab: 7, hidden: 24 };
        let plan = Embedding::<f32>::plan(&device, &spec).expect("a plan");
        let table_on_device = upload(&stream, [7, 24], &table);
        let ids = upload(&stream, 3, &[6_u32, 7, 0]);
        let out = plan.run(&stream, &ids, &table_on_device).expect("a run");
        let expected = [&table[6 * 24..], &[0.0; 24], &table[..24]].concat();
        assert_eq!(download(&stream, &out), expected);
        let flags = plan.flags(&stream).expect("flags");
        assert_eq!(flags.bits(), device_error::TOKEN);
        assert_eq!(flags.to_string(), "TOKEN: a token is not in the vocabulary; its row is zero");
        assert!(plan.flags(&stream).expect("flags").is_empty(), "they were cleared");
    }
}

#[test]
fn tokens_are_chosen() {
    for (device, stream) in devices() {
        let logits = numbers(6, 4 * 50);
        let on_device = upload(&stream, [4, 50], &logits);
        let argmax = Argmax::plan(&device, 50).expect("a plan");
        let given = stream.download(&argmax.run(&stream, &on_device).expect("a run")).expect("tokens");
        let expected: Vec<u32> = logits
            .chunks(50)
            .map(|row| rorqual::model::sampling::argmax(row).expect("a token") as u32)
            .collect();
        assert_eq!(given, expected);

        let plan = Sample::plan(&device, 50).expect("a plan");
        let each = |value: f32| upload(&stream, 4, &[value; 4]);
        let (temperature, top_p) = (each(0.8), each(0.9));
        let top_k = upload(&stream, 4, &[20_u32; 4]);
        let (seed, sequence) = (upload(&stream, 4, &[7_u64; 4]), upload(&stream, 4, &[0_u64, 1, 2, 3]));
        let position = upload(&stream, 4, &[11_u64; 4]);
        let settings = Settings {
            temperature: temperature.view(),
            top_k: top_k.view(),
            top_p: top_p.view(),
            seed: seed.view(),
            sequence: sequence.view(),
            position: position.view(),
        };
        let given =
            stream.download(&plan.run(&stream, &on_device, settings).expect("a run")).expect("tokens");
        let sampling = Sampling { temperature: 0.8, top_k: Some(20), top_p: 0.9, seed: 7 };
        let expected: Vec<u32> = logits
            .chunks(50)
            .enumerate()
            .map(|(row, logits)| sampling.choose(logits, row as u64, 11).expect("a token"))
            .collect();
        assert_eq!(given, expected);
    }
}
