//! Tensor copies, and tensor maps that the kernel edits. Expectations are loops over the box.

use crate::harness::{Case, noise_bytes};
use crate::mbarrier::{SHARED, make, wait};
use rorqual_sim::tensor_map::{ElementType, MAX_RANK, Swizzle, TileSpec};

/// Elements of the tensor, of 32 bits, along each of its dimensions.
const DIMS: [u64; MAX_RANK] = [12, 6, 4, 3, 2];
/// Elements of the box.
const BOX: [u32; MAX_RANK] = [8, 4, 2, 2, 1];
/// Where the box starts: it ends outside of the tensor along the first and third dimension.
const START: [i32; MAX_RANK] = [8, 1, 3, 1, 1];

fn spec(rank: usize) -> TileSpec {
    let strides: Vec<u64> = (1..rank).map(|dim| 4 * DIMS[..dim].iter().product::<u64>()).collect();
    TileSpec::new(ElementType::U32, 0, &DIMS[..rank], &strides, &BOX[..rank], &[1; MAX_RANK][..rank])
        .expect("slices of one length")
}

fn tensor_bytes(rank: usize) -> usize {
    4 * DIMS[..rank].iter().product::<u64>() as usize
}

fn box_bytes(rank: usize) -> usize {
    4 * BOX[..rank].iter().product::<u32>() as usize
}

/// The place in the tensor of each element of the box, in order; `None` outside.
fn places(rank: usize) -> Vec<Option<usize>> {
    let count = BOX[..rank].iter().product::<u32>();
    let place = |mut at: u32| {
        let (mut index, mut stride) = (0, 1);
        for dim in 0..rank {
            let coordinate = i64::from(START[dim]) + i64::from(at % BOX[dim]);
            at /= BOX[dim];
            if !(0..DIMS[dim] as i64).contains(&coordinate) {
                return None;
            }
            index += coordinate as usize * stride;
            stride *= DIMS[dim] as usize;
        }
        Some(index)
    };
    (0..count).map(place).collect()
}

/// What a load brings: the elements of the box, zeros outside.
fn boxed(rank: usize, tensor: &[u8]) -> Vec<u8> {
    let element = |place: Option<usize>| {
        place.map_or([0; 4], |at| tensor[4 * at..][..4].try_into().expect("four bytes"))
    };
    places(rank).into_iter().flat_map(element).collect()
}

fn coordinates(rank: usize) -> String {
    (0..rank).map(|dim| START[dim].to_string()).collect::<Vec<_>>().join(", ")
}

/// Copies so many bytes at shared address `%r0` to the output of the CTA, word by word.
fn read_back(bytes: usize) -> String {
    format!(
        "mad.lo.u32 %r20, %thread, 4, %r0;
    mov.u32 %r21, {bytes};
    mul.lo.u32 %r21, %r21, %rank;
    mad.lo.u32 %r21, %thread, 4, %r21;
    cvt.u64.u32 %d20, %r21;
    add.u64 %d20, %d20, %out;
    mov.u32 %r22, %thread;
    COPY:
    setp.ge.u32 %p8, %r22, {};
    @%p8 bra COPIED;
    ld.shared.b32 %r23, [%r20];
    st.global.b32 [%d20], %r23;
    add.u32 %r20, %r20, 128;
    add.u64 %d20, %d20, 128;
    add.u32 %r22, %r22, 32;
    bra COPY;
    COPIED:",
        bytes / 4
    )
}

fn rank_of(opcode: &str) -> usize {
    let dim = opcode.split('.').find_map(|word| word.strip_suffix('d')?.parse().ok());
    dim.expect("a number of dimensions")
}

/// The generic address of the parameter `map`, in `%d10`.
const MAP: &str = "mov.b64 %d10, map;\n    cvta.param.u64 %d10, %d10;";

/// Loads of a box, by one CTA, or by the first of two for both.
pub fn loads(opcode: &str) -> Vec<Case> {
    let rank = rank_of(opcode);
    let bytes = box_bytes(rank);
    let multicast = opcode.contains(".multicast");
    let hint = if opcode.contains("cache_hint") { ", 0x12f0000000000000" } else { "" };
    let mask = if multicast { ", %h0" } else { "" };
    let leader = if multicast {
        "setp.eq.u32 %p7, %rank, 0;\n    and.pred %p7, %p7, %p9;"
    } else {
        "and.pred %p7, %p9, %p9;"
    };
    let meet =
        if multicast { "barrier.cluster.arrive.aligned;\n    barrier.cluster.wait.aligned;" } else { "" };
    let mut case = Case::new(format!(
        "{}
    {MAP}
    mov.u32 %r0, buffer;
    mov.b16 %h0, 3;
    @%p9 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r10], {bytes};
    {meet}
    {leader}
    @%p7 {opcode} [%r0], [%d10, {{{}}}], [%r10]{mask}{hint};
    {}
    {}
    {meet}",
        make(1),
        coordinates(rank),
        wait(0),
        read_back(bytes)
    ));
    case.variables = SHARED.to_owned();
    case.ctas = if multicast { 2 } else { 1 };
    case.input = noise_bytes(1, tensor_bytes(rank));
    case.expected = boxed(rank, &case.input).repeat(case.ctas as usize);
    case.map = Some((spec(rank), false));
    vec![case]
}

/// Stores of a box, and sums with what is there.
pub fn stores(opcode: &str) -> Vec<Case> {
    let rank = rank_of(opcode);
    let adds = opcode.starts_with("cp.reduce");
    let bytes = box_bytes(rank);
    let mut case = Case::new(format!(
        "{MAP}
    mov.u32 %r0, buffer;
    mad.lo.u32 %r1, %thread, 4, %r0;
    mad.wide.u32 %d0, %thread, 4, %in;
    mov.u32 %r2, %thread;
    FILL:
    ld.global.b32 %r3, [%d0];
    st.shared.b32 [%r1], %r3;
    add.u64 %d0, %d0, 128;
    add.u32 %r1, %r1, 128;
    add.u32 %r2, %r2, 32;
    setp.lt.u32 %p0, %r2, {};
    @%p0 bra FILL;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    setp.ne.u32 %p1, %thread, 0;
    @%p1 bra DONE;
    {opcode} [%d10, {{{}}}], [%r0];
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group.read 0;
    DONE:
    bar.sync 0;",
        bytes / 4,
        coordinates(rank)
    ));
    case.variables = SHARED.to_owned();
    case.input = noise_bytes(2, bytes);
    case.expected = vec![0xee; tensor_bytes(rank)];
    for (place, element) in places(rank).into_iter().zip(case.input.chunks(4)) {
        let Some(at) = place else { continue };
        let number = u32::from_le_bytes(element.try_into().expect("four bytes"));
        let value = if adds { number.wrapping_add(0xeeee_eeee) } else { number };
        case.expected[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    case.map = Some((spec(rank), true));
    vec![case]
}

/// A map that is wrong in one field is put right in shared memory, published, and used. `edit` has `{opcode}` for the
/// instruction and the map's address in `%r5`.
fn edited(wrong: TileSpec, edit: &str, right: TileSpec, tensor: Vec<u8>, expected: Vec<u8>) -> Case {
    let rank = right.rank;
    let mut case = Case::new(format!(
        "{}
    mov.u32 %r0, buffer;
    mov.u32 %r5, edited;
    mad.lo.u32 %r6, %thread, 4, %r5;
    mad.wide.u32 %d1, %thread, 4, 0;
    mov.b64 %d2, map;
    add.u64 %d2, %d2, %d1;
    ld.param.b32 %r7, [%d2];
    st.shared.b32 [%r6], %r7;
    bar.sync 0;
    {edit}
    bar.sync 0;
    mov.b64 %d10, published;
    cvta.global.u64 %d10, %d10;
    tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%d10], [%r5], 128;
    fence.proxy.tensormap::generic.acquire.gpu [%d10], 128;
    @%p9 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r10], {};
    @%p9 cp.async.bulk.tensor.{rank}d.shared::cta.global.mbarrier::complete_tx::bytes [%r0], [%d10, {{{}}}], [%r10];
    {}
    {}",
        make(1),
        right.box_bytes(),
        coordinates(rank),
        wait(0),
        read_back(expected.len())
    ));
    case.module = ".global .align 128 .b8 published[128];".to_owned();
    case.variables = format!("{SHARED}\n    .shared .align 128 .b8 edited[128];");
    case.input = tensor;
    case.expected = expected;
    case.map = Some((wrong, false));
    case
}

/// Every field that a kernel may replace.
pub fn edits(opcode: &str) -> Vec<Case> {
    let right = spec(2);
    let tensor = noise_bytes(3, tensor_bytes(2));
    let expected = boxed(2, &tensor);
    let one = |edit: &str| format!("@%p9 {opcode} [%r5], {edit};");
    let row = [DIMS[0], 4 * DIMS[0]];
    let case = |wrong: TileSpec, edit: String| edited(wrong, &edit, right, tensor.clone(), expected.clone());
    let field = opcode.strip_prefix("tensormap.replace.tile.").and_then(|rest| rest.split('.').next());
    vec![match field {
        Some("global_address") => case(TileSpec { address: 16, ..right }, one("%in")),
        Some("rank") => case(TileSpec { strides: [4, row[1], 1024, 0, 0], rank: 3, ..right }, one("1")),
        Some("box_dim") => {
            case(TileSpec { box_dims: [4, 4, 1, 1, 1], ..right }, one(&format!("0x0, {}", BOX[0])))
        }
        Some("global_dim") => {
            case(TileSpec { dims: [row[0], 2, 1, 1, 1], ..right }, one(&format!("1, {}", DIMS[1])))
        }
        Some("global_stride") => {
            case(TileSpec { strides: [4, 2 * row[1], 0, 0, 0], ..right }, one(&format!("0x0, {}", row[1])))
        }
        Some("element_stride") => case(TileSpec { element_strides: [1, 2, 1, 1, 1], ..right }, one("1, 1")),
        Some("elemtype") => {
            case(TileSpec { element: ElementType::F64, strides: [8, row[1], 0, 0, 0], ..right }, one("2"))
        }
        Some("swizzle_mode") => {
            // Within each row of 32 bytes the 16-byte halves change places in every other 128 bytes.
            let swizzled = TileSpec {
                swizzle: Swizzle::B32,
                box_dims: [8, 8, 1, 1, 1],
                dims: [row[0], 16, 1, 1, 1],
                ..right
            };
            let tensor = noise_bytes(4, (4 * row[0] * 16) as usize);
            let mut expected = Vec::new();
            for line in 0..8 {
                let from = (row[1] as usize) * (1 + line) + 4 * START[0] as usize;
                let first = tensor[from..from + 16].to_vec();
                let halves = if line / 4 % 2 == 0 { [first, vec![0; 16]] } else { [vec![0; 16], first] };
                expected.extend(halves.concat());
            }
            edited(TileSpec { swizzle: Swizzle::None, ..swizzled }, &one("0x1"), swizzled, tensor, expected)
        }
        _ => return vec![],
    }]
}

/// The copy of an edited map to global memory, and the fence before its use.
pub fn publications() -> Vec<Case> {
    edits("tensormap.replace.tile.box_dim.shared::cta.b1024.b32")
}

/// A prefetch of the box, which changes nothing.
pub fn prefetches(opcode: &str) -> Vec<Case> {
    let rank = rank_of(opcode);
    let body =
        format!("{MAP}\n    {opcode} [%d10, {{{}}}];\n    st.global.b32 [%dst], %thread;", coordinates(rank));
    let mut case = Case::new(body).slots(|_| vec![0; 64], |thread| (thread as u32).to_le_bytes().to_vec());
    case.map = Some((spec(rank), false));
    vec![case]
}
