//! Modifiers: what follows the dots of an opcode. One list of words; types and matrix shapes are modifiers too.

use crate::types::{Space, Type};
use std::fmt;

/// A matrix shape, spelled `m64n128k16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Rows of D and A.
    pub m: u16,
    /// Columns of D and B; 0 where the spelling has none.
    pub n: u16,
    /// Length of the products; 0 where the spelling has none (`m8n8`).
    pub k: u16,
}

impl Shape {
    fn from_name(name: &str) -> Option<Self> {
        let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k').unwrap_or((rest, "0"));
        let number = |text: &str| (text.len() <= 4).then(|| text.parse::<u16>().ok()).flatten();
        let shape = Self { m: number(m)?, n: number(n)?, k: number(k)? };
        (shape.to_string() == name).then_some(shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}n{}", self.m, self.n)?;
        if self.k > 0 { write!(f, "k{}", self.k) } else { Ok(()) }
    }
}

macro_rules! words {
    ($($variant:ident $name:literal)*) => {
        /// One modifier of an opcode.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Modifier {
            /// A type, e.g. `.f32`.
            Type(Type),
            /// A matrix shape, e.g. `.m16n8k16`.
            Shape(Shape),
            $(#[doc = concat!("`.", $name, "`")] $variant,)*
        }

        impl Modifier {
            /// Every modifier that is neither a type nor a shape.
            pub const WORDS: &[Self] = &[$(Self::$variant,)*];

            fn word(self) -> &'static str {
                match self { Self::Type(ty) => ty.name(), Self::Shape(_) => "", $(Self::$variant => $name,)* }
            }

            fn word_from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    Rn "rn"  Rz "rz"  Rm "rm"  Rp "rp"  Rna "rna"  Rs "rs"  Rni "rni"  Rzi "rzi"  Rmi "rmi"  Rpi "rpi"
    Approx "approx"  Full "full"  Ftz "ftz"  Sat "sat"  Satfinite "satfinite"  Relu "relu"  Scaled "scaled"
    Cc "cc"  Hi "hi"  Lo "lo"  Wide "wide"  Shiftamt "shiftamt"  Clamp "clamp"  Wrap "wrap"  L "l"  R "r"
    F4e "f4e"  B4e "b4e"  Rc8 "rc8"  Ecl "ecl"  Ecr "ecr"  Rc16 "rc16"  Up "up"  Down "down"  Bfly "bfly"
    Idx "idx"  Eq "eq"  Ne "ne"  Lt "lt"  Le "le"  Gt "gt"  Ge "ge"  Ls "ls"  Hs "hs"  Equ "equ"  Neu "neu"
    Ltu "ltu"  Leu "leu"  Gtu "gtu"  Geu "geu"  Num "num"  PropagateNan "NaN"  And "and"  Or "or"
    Xor "xor"  Popc "popc"  Add "add"  Min "min"  Max "max"  Inc "inc"  Dec "dec"  Cas "cas"  Exch "exch"
    Xorsign "xorsign"  Abs "abs"  Weak "weak"  Volatile "volatile"  Relaxed "relaxed"  Acquire "acquire"
    Release "release"  AcqRel "acq_rel"  Sc "sc"  Mmio "mmio"  Cta "cta"  Cluster "cluster"  Gpu "gpu"
    Sys "sys"  Global "global"  Local "local"  Const "const"  Param "param"  ParamEntry "param::entry"
    ParamFunc "param::func"  Shared "shared"  SharedCta "shared::cta"  SharedCluster "shared::cluster"
    To "to"  Nc "nc"  Ca "ca"  Cg "cg"  Cs "cs"  Lu "lu"  Cv "cv"  Wb "wb"  Wt "wt"  Unified "unified"
    L1EvictNormal "L1::evict_normal"  L1EvictUnchanged "L1::evict_unchanged"
    L1EvictFirst "L1::evict_first"  L1EvictLast "L1::evict_last"  L1NoAllocate "L1::no_allocate"
    L2EvictNormal "L2::evict_normal"  L2EvictLast "L2::evict_last"  L2EvictFirst "L2::evict_first"
    L2EvictUnchanged "L2::evict_unchanged"  L2CacheHint "L2::cache_hint"  L264B "L2::64B"
    L2128B "L2::128B"  L2256B "L2::256B"  V2 "v2"  V4 "v4"  V8 "v8"  Sync "sync"  Aligned "aligned"
    All "all"  Any "any"  Uni "uni"  Ballot "ballot"  Red "red"  Arrive "arrive"  Noinc "noinc"
    NoComplete "noComplete"  ExpectTx "expect_tx"  DropTx "drop_tx"  Parity "parity"
    MbarrierCompleteTxBytes "mbarrier::complete_tx::bytes"  BulkGroup "bulk_group"  Read "read"
    MulticastCluster "multicast::cluster"  CpMask "cp_mask"  IgnoreOob "ignore_oob"  Tile "tile"
    Im2col "im2col"  Im2colW "im2col::w"  Im2colW128 "im2col::w::128"  Im2colNoOffs "im2col_no_offs"
    TileGather4 "tile::gather4"  TileScatter4 "tile::scatter4"  Dim1 "1d"  Dim2 "2d"  Dim3 "3d"  Dim4 "4d"
    Dim5 "5d"  Async "async"  Bulk "bulk"  CtaGroup1 "cta_group::1"  CtaGroup2 "cta_group::2"
    Noftz "noftz"  MbarrierInit "mbarrier_init"  Proxy "proxy"  Alias "alias"  Tensormap "tensormap"
    AsyncGeneric "async::generic"  TensormapGeneric "tensormap::generic"
    SyncRestrictSharedCta "sync_restrict::shared::cta"
    SyncRestrictSharedCluster "sync_restrict::shared::cluster"  GlobalAddress "global_address"  Rank "rank"
    BoxDim "box_dim"  GlobalDim "global_dim"  GlobalStride "global_stride"  ElementStride "element_stride"
    Elemtype "elemtype"  InterleaveLayout "interleave_layout"  SwizzleMode "swizzle_mode"
    SwizzleAtomicity "swizzle_atomicity"  FillMode "fill_mode"  Fractional "fractional"  Range "range"
    Row "row"  Col "col"  X1 "x1"  X2 "x2"  X4 "x4"  X8 "x8"  X16 "x16"  X32 "x32"  X64 "x64"  X128 "x128"
    Trans "trans"  Sp "sp"  SpOrderedMetadata "sp::ordered_metadata"  B6x16P32 "b6x16_p32"
    B4x16P64 "b4x16_p64"  B8x16 "b8x16"  KindF8f6f4 "kind::f8f6f4"  KindMxf8f6f4 "kind::mxf8f6f4"
    KindMxf4 "kind::mxf4"  KindMxf4nvf4 "kind::mxf4nvf4"  KindF16 "kind::f16"  KindTf32 "kind::tf32"
    KindI8 "kind::i8"  BlockScale "block_scale"  ScaleVec1X "scale_vec::1X"  ScaleVec2X "scale_vec::2X"
    ScaleVec4X "scale_vec::4X"  Block16 "block16"  Block32 "block32"  Ws "ws"
    CollectorAFill "collector::a::fill"  CollectorAUse "collector::a::use"
    CollectorALastuse "collector::a::lastuse"  CollectorADiscard "collector::a::discard"
    CollectorB0Fill "collector::b0::fill"  CollectorB0Use "collector::b0::use"
    CollectorB0Lastuse "collector::b0::lastuse"  CollectorB0Discard "collector::b0::discard"
    CollectorB1Fill "collector::b1::fill"  CollectorB1Use "collector::b1::use"
    CollectorB1Lastuse "collector::b1::lastuse"  CollectorB1Discard "collector::b1::discard"
    CollectorB2Fill "collector::b2::fill"  CollectorB2Use "collector::b2::use"
    CollectorB2Lastuse "collector::b2::lastuse"  CollectorB2Discard "collector::b2::discard"
    CollectorB3Fill "collector::b3::fill"  CollectorB3Use "collector::b3::use"
    CollectorB3Lastuse "collector::b3::lastuse"  CollectorB3Discard "collector::b3::discard"
    Ashift "ashift"  MbarrierArriveOne "mbarrier::arrive::one"  Tile16x64b "16x64b"  Tile16x128b "16x128b"
    Tile16x256b "16x256b"  Tile32x32b "32x32b"  Tile16x32bx2 "16x32bx2"  Pack16b "pack::16b"
    Unpack16b "unpack::16b"  Tile128x256b "128x256b"  Tile4x256b "4x256b"  Tile128x128b "128x128b"
    Tile64x128b "64x128b"  Tile32x128b "32x128b"  Warpx20213 "warpx2::02_13"  Warpx20123 "warpx2::01_23"
    Warpx4 "warpx4"  WaitLd "wait::ld"  WaitSt "wait::st"  BeforeThreadSync "before_thread_sync"
    AfterThreadSync "after_thread_sync"  LaunchDependents "launch_dependents"  Wait "wait"  Finite "finite"
    Infinite "infinite"  Notanumber "notanumber"  Normal "normal"  Subnormal "subnormal"  Mma "mma"
    IsCanceled "is_canceled"  GetFirstCtaid "get_first_ctaid"  GetFirstCtaidX "get_first_ctaid::x"
    GetFirstCtaidY "get_first_ctaid::y"  GetFirstCtaidZ "get_first_ctaid::z"  Number "number"  IsNan "nan"
    L1 "L1"  L132B "L1::32B"  ValidAddr "valid_addr"  Oob "oob"  Cvt "cvt"  Mask "mask"
    ScaledN2Ue8m0 "scaled::n2::ue8m0"  AccF16 "acc::f16"  AccF32 "acc::f32"
    Gl "gl"  L2 "L2"  LayoutV0 "layout::v0"  LayoutV1 "layout::v1"  PhaseTypePrimary "phase_type::primary"
    PhaseTypeConditional "phase_type::conditional"  MulticastClusterAll "multicast::cluster::all"
    SyncRestrictSharedClusterRead "sync_restrict::shared::cluster::read"  Exclusive "exclusive"
    SyncRestrictProxyAsync "sync_restrict::proxy::async"
}

impl Modifier {
    /// The modifier spelled `name`, without the dot.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::word_from_name(name)
            .or_else(|| Type::from_name(name).map(Self::Type))
            .or_else(|| Shape::from_name(name).map(Self::Shape))
    }

    /// The state space that the modifier names.
    #[must_use]
    pub const fn space(self) -> Option<Space> {
        match self {
            Self::Global => Some(Space::Global),
            Self::Local => Some(Space::Local),
            Self::Const => Some(Space::Const),
            Self::Param | Self::ParamEntry | Self::ParamFunc => Some(Space::Param),
            Self::Shared | Self::SharedCta => Some(Space::Shared),
            Self::SharedCluster => Some(Space::SharedCluster),
            _ => None,
        }
    }
}

impl fmt::Display for Modifier {
    /// The spelling with its dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(shape) => write!(f, ".{shape}"),
            other => write!(f, ".{}", other.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modifier_reads_back_as_printed() {
        let shapes =
            [(8, 8, 0), (64, 256, 16), (16, 8, 128)].map(|(m, n, k)| Modifier::Shape(Shape { m, n, k }));
        let types = Type::ALL.iter().copied().map(Modifier::Type);
        for modifier in types.chain(Modifier::WORDS.iter().copied()).chain(shapes) {
            assert_eq!(Modifier::from_name(&modifier.to_string()[1..]), Some(modifier));
        }
        for wrong in ["", "m8", "m08n8", "m8n8k0", "m8n8k", "m99999n8k8", "F32", "rnn"] {
            assert_eq!(Modifier::from_name(wrong), None, "{wrong}");
        }
    }
}
