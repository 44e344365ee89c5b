//! Response to a scrape: the gauges of all organizations by family, and the daemon's own series.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::{Chunk, GzipPrefix};
use crate::families::{ALL, Metric};
use crate::gauges::Rendered;
use crate::text::ExpositionFormat;
use spendwatch_domain::units::ids::OrganizationName;

/// Maximum bytes of text kept uncompressed.
pub const MAX_KEPT_TEXT: usize = 32 * 1024 * 1024;

/// Gauges of all organizations at one time.
#[derive(Debug, Default)]
pub struct Exposition {
    chunks: Vec<Arc<Chunk>>,
    gzip_prefix: GzipPrefix,
    n_dropped: BTreeMap<Metric, u64>,
}

impl Exposition {
    /// Combines the gauges of all organizations, each family once.
    pub fn assemble(organizations: &BTreeMap<OrganizationName, Rendered>) -> Exposition {
        let mut exposition = Exposition::default();
        for (index, family) in ALL.iter().enumerate() {
            let chunks: Vec<_> = organizations
                .values()
                .filter_map(|rendered| rendered.chunks.get(index))
                .flatten()
                .filter(|chunk| !chunk.is_empty())
                .cloned()
                .collect();
            if !chunks.is_empty() {
                let header = Chunk::stored(family.header(ExpositionFormat::Text));
                exposition.chunks.push(Arc::new(header));
                exposition.chunks.extend(chunks);
            }
        }
        exposition.gzip_prefix = GzipPrefix::new(exposition.chunks.iter().map(Arc::as_ref));
        for (metric, n) in organizations
            .values()
            .flat_map(|rendered| &rendered.n_dropped)
        {
            *exposition.n_dropped.entry(*metric).or_default() += n;
        }
        exposition
    }

    /// Returns the number of series summed as `other`, by metric.
    pub fn n_dropped(&self) -> &BTreeMap<Metric, u64> {
        &self.n_dropped
    }

    /// Returns the length of the text.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Returns whether there are no gauges yet.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the chunks of a response: the gauges, then the daemon's own series.
    pub fn response_chunks(
        &self,
        own: String,
        format: ExpositionFormat,
        is_gzip: bool,
    ) -> Vec<Bytes> {
        let own = match format {
            ExpositionFormat::Text => own,
            ExpositionFormat::OpenMetrics => own + "# EOF\n",
        };
        if is_gzip {
            return self.gzip_prefix.finish_with(&own).to_vec();
        }
        let mut chunks: Vec<Bytes> = self.chunks.iter().map(|chunk| chunk.text()).collect();
        chunks.push(Bytes::from(own));
        chunks
    }
}
