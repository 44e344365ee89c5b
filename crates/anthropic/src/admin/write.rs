//! Writes to the Admin API; each requires proof that its intent was recorded in the audit log.

use zeroize::Zeroizing;

use crate::AdminApi;
use crate::admin::request::{WriteError, WriteRequest};
use crate::admin::result::{WriteResponse, WriteResult};
use crate::admin::{guide, real};
use crate::endpoint::Verb;
use crate::error::FetchErrorKind;
use crate::transport::RawResponse;
use crate::transport::decode::DecodeError;
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
                return self.decode_write(server, write, &by_post, response);
            }
            response => response?,
        };
        self.decode_write(server, write, &request, response)
    }

    fn decode_write(
        &self,
        server: ServerKind,
        write: &AdminChange,
        request: &WriteRequest,
        response: RawResponse,
    ) -> Result<WriteResponse, WriteError> {
        let request_id = response.request_id;
        let secret = matches!(write, AdminChange::CreateKey { .. }).then_some(guide::SECRET_MEMBER);
        let body = self.0.redaction.body(response.body, secret);
        match parse(server, write, &body) {
            Ok(result) => Ok(WriteResponse { result, request_id }),
            Err(error) => Err(self.0.invalid_response_error(request, &error, request_id)),
        }
    }
}

/// Decodes the response; a deletion may have none.
fn parse(
    server: ServerKind,
    write: &AdminChange,
    body: &Zeroizing<Vec<u8>>,
) -> Result<WriteResult, DecodeError> {
    if write.is_removal() && body.trim_ascii().is_empty() {
        return Ok(WriteResult::Done);
    }
    match server {
        ServerKind::Guide => guide::parse_response(write, body),
        ServerKind::Real => real::parse_response(write, body),
    }
}
