//! What a scraper gets: the gauges of all organizations, family by family, ready to be sent; and the daemon's own series,
//! which are written at each scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::ids::OrganizationName;
use crate::metrics::chunk::{Chunk, Strung};
use crate::metrics::families::{ALL, Place};
use crate::metrics::gauges::Rendered;
use crate::metrics::text::Format;

/// More text than this is kept compressed alone.
pub const MAX_KEPT_TEXT: usize = 32 * 1024 * 1024;

/// The gauges of all organizations at one moment.
#[derive(Debug, Default)]
pub struct Exposition {
    chunks: Vec<Arc<Chunk>>,
    strung: Strung,
    n_dropped: BTreeMap<Place, u64>,
}

impl Exposition {
    /// Puts the pieces together: each family once, with all of its organizations.
    pub fn assemble(organizations: &BTreeMap<OrganizationName, Rendered>) -> Exposition {
        let mut exposition = Exposition::default();
        for (place, family) in ALL.iter().enumerate() {
            let own: Vec<_> = organizations
                .values()
                .filter_map(|rendered| rendered.pieces.get(place))
                .flatten()
                .filter(|chunk| !chunk.is_empty())
                .cloned()
                .collect();
            if !own.is_empty() {
                let header = Chunk::stored(family.header(Format::Text));
                exposition.chunks.push(Arc::new(header));
                exposition.chunks.extend(own);
            }
        }
        exposition.strung = Strung::of(exposition.chunks.iter().map(Arc::as_ref));
        for (place, n) in organizations
            .values()
            .flat_map(|rendered| &rendered.n_dropped)
        {
            *exposition.n_dropped.entry(*place).or_default() += n;
        }
        exposition
    }

    /// How many series of each metric were summed away.
    pub fn n_dropped(&self) -> &BTreeMap<Place, u64> {
        &self.n_dropped
    }

    /// The length of the text.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Whether there is nothing to show yet.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// A whole answer: the gauges, then `own`, in pieces that are sent one after the other.
    pub fn answer(&self, own: String, format: Format, is_gzip: bool) -> Vec<Bytes> {
        let own = match format {
            Format::Text => own,
            Format::OpenMetrics => own + "# EOF\n",
        };
        if is_gzip {
            return self.strung.ended_with(&own).to_vec();
        }
        let mut pieces: Vec<Bytes> = self.chunks.iter().map(|chunk| chunk.text()).collect();
        pieces.push(Bytes::from(own));
        pieces
    }
}
