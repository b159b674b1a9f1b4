//! The rows of a pass: which token of which sequence each is, and where its record goes.
//!
//! Rows of the naive form come first, so that either form has neighbouring rows; [`Batch::in_order`] brings results
//! back to the order of the segments.

use super::DeviceCache;
use crate::driver::{Buffer, Stream};
use crate::error::Result;
use crate::reference::mla::Form;
use std::ops::Range;

/// New tokens of a sequence, the records that they need reserved.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// The position of the first.
    pub position: usize,
    /// Tokens in the cache before these.
    pub known: usize,
    /// The form of attention.
    pub form: Form,
    /// The cache.
    pub cache: &'a DeviceCache,
}

/// A pass, on the device.
#[derive(Debug)]
pub(super) struct Batch {
    /// Rows.
    pub rows: usize,
    /// `[rows]`
    pub tokens: Buffer<u32>,
    /// `[rows]`
    pub positions: Buffer<u32>,
    /// `[rows]`
    pub slots: Buffer<u32>,
    /// Rows in the naive form, the first ones.
    pub naive: Option<Naive>,
    /// Rows in the absorbed form, the last ones.
    pub absorbed: Option<Absorbed>,
    /// For each segment its rows.
    order: Vec<Range<usize>>,
}

/// Sequences whose rows attend in the naive form.
#[derive(Debug)]
pub(super) struct Naive {
    /// Rows.
    pub rows: usize,
    /// Sequences.
    pub sequences: usize,
    /// Keys of all sequences.
    pub keys: usize,
    /// Rows of the longest segment.
    pub longest_query: usize,
    /// Keys of the longest sequence.
    pub longest_key: usize,
    /// `[sequences + 1]`
    pub query_offsets: Buffer<u32>,
    /// `[sequences + 1]`
    pub key_offsets: Buffer<u32>,
    /// `[sequences, max_pages]`
    pub block_table: Buffer<u32>,
    /// Pages of a row of the block table.
    pub max_pages: usize,
}

/// Sequences whose rows attend in the absorbed form.
#[derive(Debug)]
pub(super) struct Absorbed {
    /// Rows.
    pub rows: usize,
    /// Sequences.
    pub sequences: usize,
    /// Keys of the longest sequence.
    pub longest_key: usize,
    /// Keys that each row sees, `[rows]`.
    pub lengths: Buffer<u32>,
    /// The sequence of each row, `[rows]`.
    pub sequence_of: Buffer<u32>,
    /// `[sequences, max_pages]`
    pub block_table: Buffer<u32>,
    /// Pages of a row of the block table.
    pub max_pages: usize,
}

impl Batch {
    /// Uploads a pass.
    pub fn new(stream: &Stream, members: &[Member<'_>]) -> Result<Self> {
        let of_form = |form| members.iter().filter(move |member| member.form == form);
        let naive: Vec<&Member<'_>> = of_form(Form::Naive).collect();
        let absorbed: Vec<&Member<'_>> = of_form(Form::Absorbed).collect();
        let (mut tokens, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for member in naive.iter().chain(&absorbed) {
            for (index, &token) in member.tokens.iter().enumerate() {
                tokens.push(token);
                positions.push((member.position + index) as u32);
                slots.push(member.cache.slot(member.known + index));
            }
        }
        let naive_rows: usize = naive.iter().map(|member| member.tokens.len()).sum();
        let (mut next_naive, mut next_absorbed) = (0, naive_rows);
        let order = members
            .iter()
            .map(|member| {
                let next = if member.form == Form::Naive { &mut next_naive } else { &mut next_absorbed };
                let start = *next;
                *next += member.tokens.len();
                start..*next
            })
            .collect();
        let upload = |values: &[u32]| stream.upload(values.len(), values);
        Ok(Self {
            rows: tokens.len(),
            tokens: upload(&tokens)?,
            positions: upload(&positions)?,
            slots: upload(&slots)?,
            naive: if naive_rows > 0 { Some(Naive::new(stream, &naive)?) } else { None },
            absorbed: if tokens.len() > naive_rows { Some(Absorbed::new(stream, &absorbed)?) } else { None },
            order,
        })
    }

    /// Rows of `width` elements in the order of the segments.
    pub fn in_order<T: Copy>(&self, rows: &[T], width: usize) -> Vec<T> {
        self.order.iter().flat_map(|range| &rows[range.start * width..range.end * width]).copied().collect()
    }
}

impl Naive {
    fn new(stream: &Stream, members: &[&Member<'_>]) -> Result<Self> {
        let keys = |member: &Member<'_>| member.known + member.tokens.len();
        let query_offsets = offsets(members, |member| member.tokens.len());
        let key_offsets = offsets(members, keys);
        let (block_table, max_pages) = block_table(members);
        Ok(Self {
            rows: members.iter().map(|member| member.tokens.len()).sum(),
            sequences: members.len(),
            keys: members.iter().map(|member| keys(member)).sum(),
            longest_query: members.iter().map(|member| member.tokens.len()).max().unwrap_or(0),
            longest_key: members.iter().map(|member| keys(member)).max().unwrap_or(0),
            query_offsets: stream.upload(query_offsets.len(), &query_offsets)?,
            key_offsets: stream.upload(key_offsets.len(), &key_offsets)?,
            block_table: stream.upload([members.len(), max_pages], &block_table)?,
            max_pages,
        })
    }
}

impl Absorbed {
    fn new(stream: &Stream, members: &[&Member<'_>]) -> Result<Self> {
        let (mut lengths, mut sequence_of) = (Vec::new(), Vec::new());
        for (sequence, member) in members.iter().enumerate() {
            for index in 0..member.tokens.len() {
                lengths.push((member.known + index + 1) as u32);
                sequence_of.push(sequence as u32);
            }
        }
        let (block_table, max_pages) = block_table(members);
        Ok(Self {
            rows: lengths.len(),
            sequences: members.len(),
            longest_key: lengths.iter().max().map_or(0, |length| *length as usize),
            lengths: stream.upload(lengths.len(), &lengths)?,
            sequence_of: stream.upload(sequence_of.len(), &sequence_of)?,
            block_table: stream.upload([members.len(), max_pages], &block_table)?,
            max_pages,
        })
    }
}

fn offsets(members: &[&Member<'_>], length: impl Fn(&Member<'_>) -> usize) -> Vec<u32> {
    let mut end = 0;
    let ends = members.iter().map(|member| {
        end += length(member) as u32;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// The pages of each sequence, in rows as long as the longest; what is left over is page 0, which nobody reads.
fn block_table(members: &[&Member<'_>]) -> (Vec<u32>, usize) {
    let max_pages = members.iter().map(|member| member.cache.pages().len()).max().unwrap_or(0);
    let row = |member: &&Member<'_>| {
        let mut row = member.cache.pages().to_vec();
        row.resize(max_pages, 0);
        row
    };
    (members.iter().flat_map(row).collect(), max_pages)
}
