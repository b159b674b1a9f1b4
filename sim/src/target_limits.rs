//! What an architecture allows a launch: threads, shared memory, registers, clusters
//! (CUDA programming guide, table of technical specifications by compute capability).

use rorqual_ptx::target::Target;

/// Limits of one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Multiprocessors that the simulated chip has.
    pub multiprocessors: u32,
    /// Shared memory that a CTA may opt in to, in bytes.
    pub shared_bytes: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub multiprocessor_shared_bytes: u32,
    /// Threads that a multiprocessor holds.
    pub resident_threads: u32,
    /// CTAs that a multiprocessor holds.
    pub resident_ctas: u32,
    /// CTAs of a cluster, with the non-portable size allowed; 1 where there are no clusters.
    pub cluster_ctas: u32,
}

/// Threads of a CTA.
pub const MAX_THREADS: u32 = 1024;
/// Extents of a CTA.
pub const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
/// Extents of a grid.
pub const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];
/// 32-bit registers of a multiprocessor.
pub const REGISTERS: u32 = 65536;

impl Limits {
    /// The limits of an architecture; `None` below sm_80.
    #[must_use]
    pub fn of(target: Target) -> Option<Self> {
        let limits = |multiprocessors, shared_kib: u32, resident_threads, resident_ctas, cluster_ctas| Self {
            multiprocessors,
            shared_bytes: shared_kib * 1024 - 1024,
            multiprocessor_shared_bytes: shared_kib * 1024,
            resident_threads,
            resident_ctas,
            cluster_ctas,
        };
        Some(match target.sm {
            0..80 => return None,
            80 | 87 => limits(108, 164, 2048, 32, 1),
            86 => limits(84, 100, 1536, 16, 1),
            88 => limits(84, 100, 1536, 16, 1),
            89 => limits(128, 100, 1536, 24, 1),
            90 => limits(132, 228, 2048, 32, 16),
            100..120 => limits(148, 228, 2048, 32, 16),
            _ => limits(170, 100, 1536, 24, 8),
        })
    }
}
