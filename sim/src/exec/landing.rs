//! How the bytes of a bulk or tensor copy land in shared memory: at once, or in shreds of 16 bytes out of order. The
//! hardware promises no order within a copy, and tells the mbarrier of the bytes as they come.

use crate::cluster::{ClusterState, Progress};
use crate::context::Random;
use crate::report::{Fault, Rule};

/// Bytes of a shred: what a bulk copy moves at least.
const SHRED: usize = 16;

/// A copy into shared memory that may land in shreds.
#[derive(Debug)]
pub struct Landing {
    /// The order of the shreds, if there are any.
    random: Option<Random>,
    /// What has been read and has not landed.
    image: Option<Image>,
}

/// Bytes on their way.
#[derive(Debug, Clone)]
struct Image {
    data: Vec<u8>,
    flags: Vec<u8>,
    /// The shreds left, the next one last.
    left: Vec<usize>,
    /// Bytes that the mbarrier has not been told of.
    untold: u32,
}

/// What a copy writes and whom it tells.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Shared address.
    pub address: u32,
    /// Bytes of shared memory that it writes.
    pub bytes: u32,
    /// Shared address of the mbarrier.
    pub mbarrier: u32,
}

impl Landing {
    /// At once, or in shreds whose order `random` gives.
    #[must_use]
    pub const fn new(random: Option<Random>) -> Self {
        Self { random, image: None }
    }

    /// Lets the next bytes of a copy land and tells its mbarrier. The first call has `copy` write all of them and say how
    /// many the mbarrier is to be told of.
    ///
    /// # Errors
    ///
    /// Those of `copy`, and of the mbarrier.
    pub fn advance(
        &mut self,
        cluster: &mut ClusterState,
        target: Target,
        copy: impl FnOnce(&mut ClusterState) -> Result<u32, Box<Fault>>,
    ) -> Result<Progress, Box<Fault>> {
        let Some(random) = self.random.as_mut().filter(|_| target.bytes > 0) else {
            let bytes = copy(cluster)?;
            return tell(cluster, target.mbarrier, bytes, true);
        };
        if let Some(image) = &mut self.image {
            return image.land(cluster, target, random);
        }
        let before = bytes_at(cluster, target)?;
        let untold = copy(cluster)?;
        let (data, flags) = bytes_at(cluster, target)?;
        write(cluster, target.address, &before.0, &before.1)?;
        let mut left: Vec<usize> = (0..data.len().div_ceil(SHRED)).collect();
        for end in (1..left.len()).rev() {
            left.swap(end, random.below(end as u64 + 1) as usize);
        }
        let image = self.image.insert(Image { data, flags, left, untold });
        image.land(cluster, target, random)
    }
}

impl Image {
    /// Lets some of the shreds land, all of them in about ten calls.
    fn land(
        &mut self,
        cluster: &mut ClusterState,
        target: Target,
        random: &mut Random,
    ) -> Result<Progress, Box<Fault>> {
        let most = self.left.len() as u64 / 4 + 1;
        let count = 1 + random.below(most) as usize;
        let mut landed = 0;
        for shred in self.left.split_off(self.left.len().saturating_sub(count)) {
            let range = shred * SHRED..self.data.len().min((shred + 1) * SHRED);
            landed += range.len() as u32;
            let address = target.address + range.start as u32;
            write(cluster, address, &self.data[range.clone()], &self.flags[range])?;
        }
        let is_done = self.left.is_empty();
        let bytes = if is_done { self.untold } else { landed.min(self.untold) };
        self.untold -= bytes;
        tell(cluster, target.mbarrier, bytes, is_done)
    }
}

/// Tells an mbarrier of bytes; after the last ones the copy is no longer under way.
fn tell(
    cluster: &mut ClusterState,
    mbarrier: u32,
    bytes: u32,
    is_done: bool,
) -> Result<Progress, Box<Fault>> {
    let barrier = cluster.mbarrier(mbarrier)?;
    if is_done {
        barrier.in_flight -= 1;
    }
    barrier.complete_transactions(bytes)?;
    Ok(if is_done { Progress::Done } else { Progress::Read })
}

fn bytes_at(cluster: &mut ClusterState, target: Target) -> Result<(Vec<u8>, Vec<u8>), Box<Fault>> {
    let shared = &cluster.cta_of(target.address)?.shared;
    let (data, flags) = shared
        .range(target.address, target.bytes)
        .map_err(|error| Fault::new(Rule::Bounds, error.to_string()))?;
    Ok((data.to_vec(), flags.to_vec()))
}

fn write(cluster: &mut ClusterState, address: u32, data: &[u8], flags: &[u8]) -> Result<(), Box<Fault>> {
    let shared = &mut cluster.cta_of(address)?.shared;
    shared
        .write_range(address, data, flags)
        .map_err(|error| Fault::new(Rule::Bounds, error.to_string()).into())
}
