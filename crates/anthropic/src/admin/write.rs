//! Writes to the Admin API; each requires proof that its intent was recorded in the audit log.

use crate::AdminApi;
use crate::admin::request::{WriteError, WriteRequest};
use crate::admin::result::{WriteResponse, WriteResult};
use crate::admin::{guide, real};
use crate::endpoint::Verb;
use crate::error::FetchErrorKind;
use crate::transport::RawResponse;
use spendwatch_audit::Intent;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::server::ServerKind;

impl AdminApi {
    /// Makes a change whose intent is recorded in the audit log.
    pub async fn write(
        &self,
        _proof: &Intent,
        server: ServerKind,
        write: &AdminChange,
    ) -> Result<WriteResponse, WriteError> {
        let request = match server {
            ServerKind::Guide => guide::request(write),
            ServerKind::Real => real::request(write),
        };
        let request = match request {
            Ok(request) => request,
            Err(request) => return Err(self.0.unsent_error(&request, FetchErrorKind::Unsupported)),
        };
        let response = match self.0.execute_write(&request).await {
            Err(error) if request.verb == Verb::Patch && error.source.status() == Some(405) => {
                // The guide documents PATCH, but its examples use POST.
                let by_post = WriteRequest {
                    verb: Verb::Post,
                    ..request
                };
                let response = self.0.execute_write(&by_post).await?;
                return self.decode_write(write, &by_post, response);
            }
            response => response?,
        };
        self.decode_write(write, &request, response)
    }

    fn decode_write(
        &self,
        write: &AdminChange,
        request: &WriteRequest,
        response: RawResponse,
    ) -> Result<WriteResponse, WriteError> {
        let request_id = response.request_id;
        let secret = matches!(write, AdminChange::CreateKey { .. }).then_some(guide::SECRET_MEMBER);
        let body = self.0.redaction.body(response.body, secret);
        // A deletion may have no response.
        let parsed = if write.is_removal() && body.trim_ascii().is_empty() {
            Ok(WriteResult::Done)
        } else {
            (request.parse)(&body)
        };
        match parsed {
            Ok(result) => Ok(WriteResponse { result, request_id }),
            Err(error) => Err(self.0.invalid_response_error(request, &error, request_id)),
        }
    }
}
