//! Changes by the Admin API: each sent by who holds the proof that its intent stands in the audit log.

use zeroize::Zeroizing;

use crate::anthropic::error::Problem;
use crate::anthropic::fault::Fault;
use crate::anthropic::orders::{Order, OrderError};
use crate::anthropic::transport::Answered;
use crate::anthropic::written::{Told, Written};
use crate::anthropic::{AdminApi, guide_orders, real_orders};
use crate::audit::Intent;
use crate::domain::admin::service::Service;
use crate::domain::admin::write::Write;
use crate::metrics::requests::Verb;

impl AdminApi {
    /// Carries out a change of which the intent stands in the audit log.
    pub async fn write(
        &self,
        _proof: &Intent,
        service: Service,
        write: &Write,
    ) -> Result<Written, OrderError> {
        let order = match service {
            Service::Guide => guide_orders::order(write),
            Service::Real => real_orders::order(write),
        };
        let order = match order {
            Ok(order) => order,
            Err(order) => return Err(self.0.unsent(&order, Problem::NotThere)),
        };
        let answered = match self.0.carry_out(&order).await {
            Err(refused) if order.verb == Verb::Patch && refused.source.status() == Some(405) => {
                // The guide names the one verb and then sends the other.
                let by_post = Order {
                    verb: Verb::Post,
                    ..order
                };
                return self.written(service, write, &by_post, self.0.carry_out(&by_post).await?);
            }
            answered => answered?,
        };
        self.written(service, write, &order, answered)
    }

    fn written(
        &self,
        service: Service,
        write: &Write,
        order: &Order,
        answered: Answered,
    ) -> Result<Written, OrderError> {
        let request_id = answered.request_id;
        let secret = matches!(write, Write::CreateKey { .. }).then_some(guide_orders::SECRET);
        let body = self.0.redaction.body(answered.body, secret);
        let told = read(service, write, &body);
        match told {
            Ok(told) => Ok(Written { told, request_id }),
            Err(fault) => Err(self.0.faulty_answer(order, &fault, request_id)),
        }
    }
}

/// An answer without a body is one to something that has gone.
fn read(service: Service, write: &Write, body: &Zeroizing<Vec<u8>>) -> Result<Told, Fault> {
    if write.takes_away() && body.trim_ascii().is_empty() {
        return Ok(Told::Done);
    }
    match service {
        Service::Guide => guide_orders::told(write, body),
        Service::Real => real_orders::told(write, body),
    }
}
