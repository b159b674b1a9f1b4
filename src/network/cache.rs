//! The paged latent cache: a pool of pages on the device, and the pages of each sequence.
//!
//! A page holds the records of `page_size` neighbouring tokens, in every layer under the same number. A sequence takes
//! pages as it grows and gives them back when it is truncated or dropped.

use super::Cache;
use crate::driver::{Buffer, Stream};
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pages that no sequence has.
#[derive(Debug)]
struct FreePages {
    /// The next page to give out is the last.
    free: Mutex<Vec<u32>>,
    total: usize,
}

/// What one sequence remembers: its pages in the pool of a [`DeviceNetwork`](super::DeviceNetwork).
#[derive(Debug)]
pub struct DeviceCache {
    pages: Vec<u32>,
    tokens: usize,
    page_size: usize,
    source: Arc<FreePages>,
}

/// The records of some layers.
#[derive(Debug)]
pub(super) struct Pool {
    layers: Vec<Mutex<Buffer<u8>>>,
    pages: Arc<FreePages>,
    page_size: usize,
}

impl Pool {
    /// `pages` pages of `page_size` records of `record_bytes` in each layer. What no record has been written to is
    /// zero.
    pub fn new(
        stream: &Stream,
        layers: usize,
        pages: usize,
        page_size: usize,
        record_bytes: usize,
    ) -> Result<Self> {
        let layer = |_| {
            let mut buffer = stream.allocate([pages, page_size, record_bytes])?;
            stream.zero(&mut buffer)?;
            Ok(Mutex::new(buffer))
        };
        let layers = (0..layers).map(layer).collect::<Result<_>>()?;
        let free = Mutex::new((0..pages as u32).rev().collect());
        Ok(Self { layers, pages: Arc::new(FreePages { free, total: pages }), page_size })
    }

    /// Records of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Pages of a layer.
    pub fn pages(&self) -> usize {
        self.pages.total
    }

    /// Pages that no sequence has.
    pub fn free_pages(&self) -> usize {
        lock(&self.pages.free).len()
    }

    /// Whether a cache has its pages here; `maker` is what makes such caches.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if it has not.
    pub fn check(&self, cache: &DeviceCache, maker: &'static str) -> Result<()> {
        if Arc::ptr_eq(&self.pages, &cache.source) {
            return Ok(());
        }
        Err(Error::ForeignCache { expected: maker })
    }

    /// The records of a layer.
    pub fn layer(&self, layer: usize) -> MutexGuard<'_, Buffer<u8>> {
        lock(&self.layers[layer])
    }

    /// An empty cache.
    pub fn cache(&self) -> DeviceCache {
        DeviceCache {
            pages: Vec::new(),
            tokens: 0,
            page_size: self.page_size,
            source: Arc::clone(&self.pages),
        }
    }
}

impl DeviceCache {
    /// Page numbers, in the order of the sequence.
    pub(super) fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Where the record of a token is: `page * page_size + offset`.
    pub(super) fn slot(&self, token: usize) -> u32 {
        self.pages[token / self.page_size] * self.page_size as u32 + (token % self.page_size) as u32
    }

    /// Takes pages for `tokens` tokens in all.
    ///
    /// # Errors
    /// [`Error::CacheFull`] if there are not enough; none is taken then.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<()> {
        let needed = tokens.div_ceil(self.page_size).saturating_sub(self.pages.len());
        let mut free = lock(&self.source.free);
        if needed > free.len() {
            return Err(Error::CacheFull {
                needed,
                free: free.len(),
                total: self.source.total,
                page_size: self.page_size,
            });
        }
        let rest = free.len() - needed;
        self.pages.extend(free.drain(rest..).rev());
        Ok(())
    }

    /// Behind a pass: declares the records of `tokens` more tokens written, or gives back the pages reserved for them.
    pub(super) fn settle<T>(&mut self, tokens: usize, pass: &Result<T>) {
        match pass {
            Ok(_) => self.tokens += tokens,
            Err(_) => self.truncate(self.tokens),
        }
    }
}

impl Cache for DeviceCache {
    fn tokens(&self) -> usize {
        self.tokens
    }

    fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        let kept = self.tokens.div_ceil(self.page_size).min(self.pages.len());
        lock(&self.source.free).extend(self.pages.drain(kept..).rev());
    }
}

impl Drop for DeviceCache {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
