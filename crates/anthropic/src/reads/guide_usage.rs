//! Usage in the `guide` dialect.

use crate::AdminApi;
use crate::endpoint::Endpoint;
use crate::error::{FetchError, FetchErrorKind};
use crate::transport::GetRequest;
use crate::transport::decode::DecodeError;
use crate::wire::guide::usage::{self, MonthUsage, UnreadableUsage};
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::{Granularity, Part, UnreadableHours, UsageResponse};

impl AdminApi {
    /// Fetches usage of a workspace or the whole organization by hour or day from a `guide` server, from `first` to `last`
    /// inclusive. The second value lists what is invalid.
    pub async fn guide_usage(
        &self,
        part: &Part,
        granularity: Granularity,
        first: Day,
        last: Day,
    ) -> Result<(UsageResponse, Vec<UnreadableHours>), FetchError> {
        let granularity_name = match granularity {
            Granularity::Hour => "hour",
            Granularity::Day => "day",
        };
        let query = usage_query(part, granularity_name, first, last);
        let request = self.usage_request(part, &query)?;
        let body = self.0.get(&request).await?;
        let decoded = usage::usage(&body, part, granularity, first, last);
        let (response, unread) = self.0.decoded(&request, decoded)?;
        Ok((response, self.unreadable(&request, unread)))
    }

    /// Like [`AdminApi::guide_usage`], by month, ascending. A partially requested month contains only the requested days.
    pub async fn guide_usage_by_month(
        &self,
        part: &Part,
        first: Day,
        last: Day,
    ) -> Result<(Vec<MonthUsage>, Vec<UnreadableHours>), FetchError> {
        let query = usage_query(part, "month", first, last);
        let request = self.usage_request(part, &query)?;
        let body = self.0.get(&request).await?;
        let months = usage::usage_by_month(&body, first, last);
        let (months, unread) = self.0.decoded(&request, months)?;
        Ok((months, self.unreadable(&request, unread)))
    }

    fn unreadable(
        &self,
        request: &GetRequest<'_>,
        unread: UnreadableUsage,
    ) -> Vec<UnreadableHours> {
        let unreadable = |(hours, error): (HourSpan, DecodeError)| UnreadableHours {
            hours,
            reason: self.0.decode_error(request, &error).to_string(),
        };
        unread.into_iter().map(unreadable).collect()
    }

    fn usage_request<'a>(
        &self,
        part: &'a Part,
        query: &'a [(&'static str, String)],
    ) -> Result<GetRequest<'a>, FetchError> {
        let request = GetRequest {
            query,
            workspace: part.workspace_id(),
            ..GetRequest::new(Endpoint::Usage)
        };
        match part {
            Part::Workspace(_) | Part::Whole => Ok(request),
            Part::Unattributed => Err(self.0.error(&request, FetchErrorKind::DerivedPart)),
        }
    }
}

fn usage_query(
    part: &Part,
    granularity: &str,
    first: Day,
    last: Day,
) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("start_date", first.date().to_string()),
        ("end_date", last.date().to_string()),
        ("granularity", granularity.to_owned()),
    ];
    match part {
        Part::Workspace(id) => query.push(("workspace_id", id.as_str().to_owned())),
        Part::Whole | Part::Unattributed => {}
    }
    query
}
