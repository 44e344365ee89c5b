//! How a server's dialect is told by its answers, and which answers tell nothing.

use crate::anthropic::error::DetectError;

use super::*;

/// The dialect by these answers, or the error in words; and how many requests that took.
async fn detected(script: impl IntoIterator<Item = Reply>) -> (String, usize) {
    let setup = start(script).await;
    let text = match setup.patiently(setup.api.detect_dialect()).await {
        Ok(dialect) => dialect.name().to_owned(),
        Err(DetectError::Undecided(error) | DetectError::Rejected(error)) => error.to_string(),
    };
    (text, setup.fake.requests().len())
}

#[tokio::test]
async fn the_dialect_is_told_by_answers() {
    let check = async |script: &[Reply], expected: &str| {
        let expected = (expected.to_owned(), script.len());
        assert_eq!(detected(script.to_vec()).await, expected);
    };
    let (me, report, no) = (Reply::ok(ME), Reply::ok(EMPTY_REPORT), Reply::status);
    let organization = Reply::ok(ORGANIZATION);
    check(&[me.clone(), report.clone()], "analytics").await;
    check(&[me.clone(), no(403), report.clone()], "reports").await;
    check(&[me.clone(), no(404), report.clone()], "reports").await;
    // So says the service where an organization does not take part in what is new.
    check(&[me.clone(), no(400), report.clone()], "reports").await;
    check(&[no(404), organization.clone()], "guide").await;
    check(&[no(405), organization.clone()], "guide").await;
}

#[tokio::test]
async fn what_decides_nothing_is_told() {
    let check = async |script: &[Reply], expected: &str| {
        let (text, n_requests) = detected(script.to_vec()).await;
        let expected = match expected.strip_prefix("rejected: ") {
            Some(place) => format!(
                "the Admin API rejected the key (401): organization `acme`, GET /v1/{place}: without a word; \
                 check `admin_key`, or create a new key in the Console under Settings > Admin keys"
            ),
            None => format!("organization `acme`: GET /v1/{expected}"),
        };
        assert_eq!(text, expected);
        assert_eq!(n_requests, script.len(), "{expected}");
    };
    let (me, no) = (Reply::ok(ME), Reply::status);
    let html = Reply::new("200 OK", "content-type: text/html\r\n", "<html>");
    let not_json = "page 1: faulty answer: not JSON (expected value at line 1 column 1); it begins with `<html>`";
    let me_fails = |problem: &str| format!("organizations/me, {problem}");
    let newer_fails = |problem: &str| format!("organizations/analytics/cost, {problem}");
    let older_fails = |problem: &str| format!("organizations/usage_report/messages, {problem}");
    let status =
        |status| format!("page 1: the server answers with status {status}: without a word");
    let refused =
        |status| format!("page 1: the server refuses the key (status {status}): without a word");
    check(&[no(401)], "rejected: organizations/me").await;
    check(&[no(403)], &me_fails(&refused(403))).await;
    check(&vec![no(429); 4], &me_fails(&status(429))).await;
    check(&vec![no(500); 4], &me_fails(&status(500))).await;
    check(std::slice::from_ref(&html), &me_fails(not_json)).await;
    check(
        &[Reply::ok(r#"{"id": "7d0c", "type": "user"}"#)],
        &me_fails("page 1: faulty answer: `type` is `user`, not `organization`"),
    )
    .await;

    let after_me = |more: Vec<Reply>| [vec![me.clone()], more].concat();
    let newer = "rejected: organizations/analytics/cost";
    check(&after_me(vec![no(401)]), newer).await;
    check(
        &after_me(vec![no(400), no(400)]),
        &older_fails(&status(400)),
    )
    .await;
    check(&after_me(vec![no(429); 4]), &newer_fails(&status(429))).await;
    check(&after_me(vec![no(500); 4]), &newer_fails(&status(500))).await;
    check(&after_me(vec![html.clone()]), &newer_fails(not_json)).await;
    check(
        &after_me(vec![no(403), no(403)]),
        &older_fails(&refused(403)),
    )
    .await;
    check(
        &after_me(vec![no(404), no(404)]),
        &older_fails(&status(404)),
    )
    .await;
    check(&after_me(vec![no(403), html]), &older_fails(not_json)).await;

    check(
        &[no(404), no(404)],
        &format!("organizations, {}", status(404)),
    )
    .await;
    check(&[no(404), no(401)], "rejected: organizations").await;
    check(
        &[no(404), Reply::ok(r#"{"name": "no id"}"#)],
        "organizations, page 1: faulty answer: missing field `id` at line 1 column 17",
    )
    .await;
}
