//! Conversion between address spaces (PTX ISA 9.7.10.22, 9.7.10.23, 9.7.10.26, 9.7.10.27).

use crate::harness::{Case, Kind};
use Kind::{I64, Pred};
use rorqual_sim::{Device, Launch, Report, Rule};

#[test]
fn generic_addresses_and_back() {
    for (space, declaration) in [("shared", ".shared"), ("local", ".local"), ("global", "")] {
        if declaration.is_empty() {
            let text = "{ cvta.global.u64 %d, %a; cvta.to.global.u64 %d, %d; }";
            Case::of(text, I64, &[I64]).check_some(|x| Some(x[0]));
            continue;
        }
        // Lanes share a shared variable: each has its own element.
        let head = format!(
            "{{ {declaration} .align 8 .b64 v[32]; .reg .b64 %s, %g; .reg .b32 %t; \
             mov.u64 %s, v; mov.u32 %t, %tid.x; mad.wide.u32 %s, %t, 8, %s;"
        );
        // What is stored through one address is loaded through the other.
        let through = format!("{head} cvta.{space}.u64 %g, %s; st.u64 [%g], %a; ld.{space}.u64 %d, [%s]; }}");
        Case::of(&through, I64, &[I64]).check_some(|x| Some(x[0]));
        let symbol = format!(
            "{head} cvta.{space}.u64 %g, v; mad.wide.u32 %g, %t, 8, %g; st.{space}.u64 [%s], %a; ld.u64 %d, [%g]; }}"
        );
        Case::of(&symbol, I64, &[I64]).check_some(|x| Some(x[0]));
        let back =
            format!("{head} cvta.{space}.u64 %g, %s; cvta.to.{space}.u64 %d, %g; sub.u64 %d, %d, %s; }}");
        Case::of(&back, I64, &[I64]).check_some(|_| Some(0));
    }
    let param = "{ .reg .b64 %g, %x; cvta.param.u64 %g, out; ld.u64 %g, [%g]; ld.param.u64 %x, [out]; sub.u64 %d, %g, %x; }";
    Case::of(param, I64, &[I64]).check_some(|_| Some(0));
}

#[test]
fn windows() {
    let spaces = ["global", "shared", "shared::cta", "shared::cluster", "local", "param"];
    for (index, of) in ["global", "shared", "local", "param"].into_iter().enumerate() {
        let pointer = match of {
            "global" => "cvta.global.u64 %g, %from;".to_owned(),
            "param" => "cvta.param.u64 %g, in;".to_owned(),
            space => format!(".{space} .b32 v; cvta.{space}.u64 %g, v;"),
        };
        for space in spaces {
            let text = format!("{{ .reg .b64 %g; {pointer} isspacep.{space} %d, %g; }}");
            let expected = space.split("::").next() == Some(["global", "shared", "local", "param"][index]);
            Case::of(&text, Pred, &[I64]).check_some(|_| Some(expected.into()));
        }
    }
    // The null pointer is in no window.
    for space in spaces {
        let text = format!("{{ .reg .b64 %g; mov.u64 %g, 0; isspacep.{space} %d, %g; }}");
        Case::of(&text, Pred, &[I64]).check_some(|_| Some(0));
    }
}

/// Runs a body in a cluster of two CTAs of one thread; each writes four words.
fn run_cluster(body: &str) -> Result<[[u32; 4]; 2], Report> {
    let text = format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n
        .shared .align 8 .b8 pad[64];
        .shared .align 4 .b32 v;
        .visible .entry test(.param .u64 out) .reqnctapercluster 2, 1, 1 {{
            .reg .b32 %own, %other, %r<9>; .reg .b64 %to, %g<9>; .reg .pred %p<4>;
            ld.param.u64 %to, [out];
            mov.u32 %own, %cluster_ctarank;
            xor.b32 %other, %own, 1;
            mad.wide.u32 %to, %own, 16, %to;
            {body}
            st.global.v4.b32 [%to], {{%r1, %r2, %r3, %r4}};
            barrier.cluster.arrive; barrier.cluster.wait;
            ret;
        }}"
    );
    let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a simulated target");
    let module = device.load(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let out = device.allocate_from("out", &[0; 32]).expect("memory");
    let launch = Launch::new(&module, "test").ctas([2, 1, 1]).argument(out);
    let outcome = device.launch(&launch).expect("a launch");
    if let Some(report) = outcome.reports.into_iter().next() {
        return Err(report);
    }
    let bytes = device.read(out, 32).expect("memory");
    let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok([0, 4].map(|at| std::array::from_fn(|word| words[at + word])))
}

#[test]
fn shared_memory_of_the_neighbour() {
    // Addresses: the neighbour's variable differs from the own one in the rank alone, in both kinds of addresses.
    let results = run_cluster(
        "mov.u32 %r5, v;
        mapa.shared::cluster.u32 %r6, %r5, %other;
        xor.b32 %r1, %r5, %r6;
        getctarank.shared::cluster.u32 %r2, %r6;
        cvta.shared.u64 %g1, v;
        mapa.u64 %g2, %g1, %other;
        xor.b64 %g3, %g1, %g2;
        cvt.u32.u64 %r3, %g3;
        getctarank.u64 %r4, %g2;",
    );
    let [first, second] = results.expect("no fault");
    assert_eq!(first, [1 << 24, 1, 1 << 24, 1]);
    assert_eq!(second, [1 << 24, 0, 1 << 24, 0]);
    // Data: each CTA writes into its neighbour's variable, once by each kind of address.
    let results = run_cluster(
        "add.u32 %r5, %own, 100;
        mapa.shared::cluster.u32 %r6, v, %other;
        st.shared::cluster.u32 [%r6], %r5;
        barrier.cluster.arrive; barrier.cluster.wait;
        ld.shared.u32 %r1, [v];
        barrier.cluster.arrive; barrier.cluster.wait;
        mapa.u64 %g1, v, %other;
        add.u32 %r5, %r5, 100;
        st.u32 [%g1], %r5;
        barrier.cluster.arrive; barrier.cluster.wait;
        ld.shared.u32 %r2, [v];
        isspacep.shared::cta %p1, %g1;
        selp.u32 %r3, 1, 0, %p1;
        isspacep.shared::cluster %p2, %g1;
        selp.u32 %r4, 1, 0, %p2;",
    );
    assert_eq!(results.expect("no fault"), [[101, 201, 0, 1], [100, 200, 0, 1]]);
}

#[test]
fn addresses_outside_the_cluster() {
    let rest = "mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 0; mov.u32 %r4, 0;";
    let report = run_cluster(&format!("{rest} mapa.shared::cluster.u32 %r1, v, 2;")).expect_err("no rank 2");
    assert_eq!(report.rule, Rule::RemoteShared);
    let report = run_cluster(&format!("{rest} mapa.u64 %g1, %to, %other;")).expect_err("a global address");
    assert_eq!(report.rule, Rule::RemoteShared);
}
