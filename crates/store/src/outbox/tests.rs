use super::*;
use crate::decisions::Commit;
use crate::digests::DigestProgress;
use crate::outbox::messages::{MessageFilter, MessageState, OutboxCounts};
use crate::samples::{ORGANIZATION, at, digest, fact, resume_state, store};
use spendwatch_domain::alerts::notification::Reason::{self, Escalated, First, Lowered, Resolved};

/// Commits a decision at a minute with one message about some workspaces, due a minute later.
async fn commit_message(store: &Store, id: &str, minute: i64, facts: &[(&str, u64, Reason)]) {
    commit_message_to(store, id, minute, None, facts).await;
}

async fn commit_message_to(
    store: &Store,
    id: &str,
    minute: i64,
    recipient: Option<&str>,
    facts: &[(&str, u64, Reason)],
) {
    let facts = facts
        .iter()
        .map(|(workspace, sequence, reason)| fact(workspace, *sequence, *reason));
    commit_facts(store, id, minute, recipient, facts.collect()).await;
}

async fn commit_facts(
    store: &Store,
    id: &str,
    minute: i64,
    recipient: Option<&str>,
    facts: Vec<Fact>,
) {
    let message = NewMessage {
        id: id.to_owned(),
        notifier: "slack".into(),
        recipient: recipient.map(str::to_owned),
        facts,
        not_before: at(minute + 1),
        expires: at(minute + 1000),
    };
    let commit = Commit {
        alerts: Vec::new(),
        messages: vec![message],
        resume_state: resume_state(minute),
        at: at(minute),
    };
    store
        .commit_decision(&ORGANIZATION.into(), commit)
        .await
        .unwrap();
}

async fn claim(store: &Store, minute: i64) -> Option<ClaimedMessage> {
    store.claim(&"slack".into(), at(minute)).await.unwrap()
}

/// Claims at a minute and checks the id and the facts: workspace, sequence, reason.
async fn check_claim(store: &Store, minute: i64, expected: &str) -> Option<ClaimedMessage> {
    let claimed = claim(store, minute).await;
    let shown = claimed.as_ref().map_or_else(String::new, |claimed| {
        let facts = claimed.facts.iter().map(|fact| {
            let both = if fact.is_fired_and_resolved {
                "+fired"
            } else {
                ""
            };
            format!(
                " {}{}:{}{both}",
                fact.subject_name, fact.sequence, fact.reason
            )
        });
        format!(
            "{} #{}{}",
            claimed.id,
            claimed.n_attempts,
            facts.collect::<String>()
        )
    });
    assert_eq!(shown, expected);
    claimed
}

fn posted(ts: &str) -> AttemptOutcome {
    let thread = Thread {
        channel: "C1".to_owned(),
        ts: ts.to_owned(),
    };
    AttemptOutcome::Posted { thread }
}

/// Claims at a minute and returns the thread.
async fn claim_thread(store: &Store, minute: i64) -> Option<String> {
    let claimed = claim(store, minute).await.unwrap();
    claimed.thread.map(|thread| thread.ts)
}

#[tokio::test]
async fn threads_are_stored_by_alert() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    assert_eq!(claim_thread(&store, 5).await, None);
    finish(&store, "one", posted("1.1")).await;
    commit_message(&store, "two", 1, &[("a", 2, Escalated)]).await;
    assert_eq!(claim_thread(&store, 5).await.as_deref(), Some("1.1"));
    finish(&store, "two", posted("2.2")).await;
    commit_message(&store, "three", 2, &[("a", 3, Escalated), ("b", 1, First)]).await;
    assert_eq!(claim_thread(&store, 5).await, None, "it is about several");
    finish(&store, "three", posted("3.3")).await;
    commit_message(&store, "four", 3, &[("b", 2, Resolved)]).await;
    assert_eq!(
        claim_thread(&store, 5).await,
        None,
        "it was never sent alone"
    );
    finish(&store, "four", AttemptOutcome::Delivered).await;
    commit_message(&store, "five", 4, &[("a", 4, Resolved)]).await;
    assert_eq!(claim_thread(&store, 9).await.as_deref(), Some("2.2"));
    finish(&store, "five", AttemptOutcome::Delivered).await;
    let mut again = fact("a", 1, First);
    again.identity.started_at = at(7);
    commit_facts(&store, "six", 7, None, vec![again]).await;
    assert_eq!(claim_thread(&store, 9).await, None, "it fires anew");
    finish(&store, "six", AttemptOutcome::Delivered).await;
    store
        .reset_notifier(&"slack".into(), "mark".to_owned(), at(8))
        .await
        .unwrap();
    commit_message(&store, "seven", 8, &[("a", 5, Escalated)]).await;
    assert_eq!(claim_thread(&store, 99).await, None, "other settings");
}

async fn finish(store: &Store, id: &str, outcome: AttemptOutcome) {
    store
        .finish(id, outcome, NotifierState::default(), at(500))
        .await
        .unwrap();
}

fn retry(minute: i64) -> AttemptOutcome {
    AttemptOutcome::Retry {
        at: at(minute),
        error: "503".to_owned(),
        may_have_arrived: false,
    }
}

#[tokio::test]
async fn facts_sent_only_once_survive_folding() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    commit_message(&store, "two", 1, &[("a", 2, Escalated), ("b", 1, First)]).await;
    commit_message(&store, "three", 2, &[("a", 3, Lowered)]).await;
    check_claim(&store, 9, "one #1 a2:first b1:first").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    check_claim(&store, 9, "three #1 a3:lowered").await;
    finish(&store, "three", AttemptOutcome::Delivered).await;
    commit_message(&store, "four", 10, &[("a", 4, Resolved)]).await;
    commit_message(&store, "five", 11, &[("a", 5, First)]).await;
    check_claim(&store, 19, "four #1 a4:resolved").await;
    finish(&store, "four", AttemptOutcome::Delivered).await;
    commit_message(&store, "six", 12, &[("a", 6, Lowered)]).await;
    commit_message(&store, "seven", 13, &[("a", 7, Resolved)]).await;
    commit_message(&store, "eight", 14, &[("a", 8, First)]).await;
    check_claim(&store, 19, "five #1 a8:first").await;
}

#[tokio::test]
async fn messages_are_claimed_after_group_wait_and_delivered_once() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    check_claim(&store, 0, "").await;
    assert_eq!(
        store.next_due(&"slack".into(), at(0)).await.unwrap(),
        Some(at(1))
    );
    assert_eq!(store.next_due(&"mail".into(), at(0)).await.unwrap(), None);
    let claimed = check_claim(&store, 1, "one #1 a1:first").await.unwrap();
    assert_eq!((claimed.created_at, claimed.is_replay), (at(0), false));
    finish(&store, "one", AttemptOutcome::Delivered).await;
    check_claim(&store, 900, "").await;
    assert_eq!(store.next_due(&"slack".into(), at(0)).await.unwrap(), None);
}

#[tokio::test]
async fn waiting_messages_are_folded_into_the_oldest_before_its_first_attempt() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    commit_message(&store, "two", 1, &[("a", 2, Escalated), ("b", 1, First)]).await;
    commit_message(&store, "three", 2, &[("b", 2, Resolved)]).await;
    commit_message(&store, "later", 50, &[("a", 3, Resolved)]).await;
    check_claim(&store, 10, "one #1 a2:first b2:resolved+fired").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    let filter = MessageFilter {
        state: Some(MessageState::Folded),
        notifier: None,
        limit: 9,
    };
    let folded = store.messages(&filter).await.unwrap();
    let into: Vec<_> = folded
        .iter()
        .map(|row| (row.id.as_str(), row.folded_into.as_deref()))
        .collect();
    assert_eq!(into, [("three", Some("one")), ("two", Some("one"))]);
    check_claim(&store, 51, "later #1 a3:resolved").await;
}

#[tokio::test]
async fn digests_are_not_folded_and_block_nothing() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    let messages = ["two", "three"].map(|id| NewDigest {
        id: id.to_owned(),
        notifier: "slack".into(),
        recipient: None,
        digest: digest("weekly"),
        expires: at(1000),
    });
    let mark = DigestProgress {
        name: "weekly".to_owned(),
        schedule: "daily".to_owned(),
        last_slot: at(1),
    };
    store
        .commit_digest(&ORGANIZATION.into(), mark.clone(), messages.to_vec(), at(1))
        .await
        .unwrap();
    commit_message(&store, "four", 1, &[("a", 2, Escalated)]).await;
    let marks = store.digest_progress(&ORGANIZATION.into()).await.unwrap();
    assert_eq!(marks["weekly"], mark);
    let claimed = check_claim(&store, 5, "one #1 a2:first").await.unwrap();
    assert_eq!(claimed.digest, None);
    finish(&store, "one", retry(100)).await;
    let claimed = check_claim(&store, 5, "two #1").await.unwrap();
    assert_eq!(claimed.digest.as_deref(), Some(&digest("weekly")));
    finish(&store, "two", retry(50)).await;
    check_claim(&store, 5, "three #1").await;
    finish(&store, "three", posted("1.1")).await;
    check_claim(&store, 50, "two #2").await;
}

#[tokio::test]
async fn case_20_messages_with_attempts_are_not_folded_or_overtaken() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    check_claim(&store, 1, "one #1 a1:first").await;
    finish(&store, "one", retry(100)).await;
    commit_message(&store, "two", 2, &[("a", 2, Resolved)]).await;
    commit_message(&store, "three", 3, &[("b", 1, First)]).await;
    commit_message(&store, "four", 4, &[("b", 2, Escalated), ("a", 3, First)]).await;
    // `b` is claimed; a message with a newer fact about `a` waits.
    check_claim(&store, 10, "three #1 b1:first").await;
    finish(&store, "three", AttemptOutcome::Delivered).await;
    check_claim(&store, 10, "").await;
    assert_eq!(
        store.next_due(&"slack".into(), at(0)).await.unwrap(),
        Some(at(100))
    );
    check_claim(&store, 100, "one #2 a1:first").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    // The resolution is sent before the alert fires again.
    check_claim(&store, 100, "two #1 a2:resolved").await;
    finish(&store, "two", AttemptOutcome::Delivered).await;
    check_claim(&store, 100, "four #1 b2:escalated a3:first").await;
}

#[tokio::test]
async fn each_recipient_has_its_own_order() {
    let store = store().await;
    commit_message_to(
        &store,
        "cfo-1",
        0,
        Some("cfo@example.com"),
        &[("a", 1, First)],
    )
    .await;
    commit_message_to(
        &store,
        "cto-1",
        0,
        Some("cto@example.com"),
        &[("a", 1, First)],
    )
    .await;
    commit_message_to(
        &store,
        "cto-2",
        1,
        Some("cto@example.com"),
        &[("a", 2, Resolved)],
    )
    .await;
    check_claim(&store, 5, "cfo-1 #1 a1:first").await;
    finish(&store, "cfo-1", retry(100)).await;
    let claimed = check_claim(&store, 5, "cto-1 #1 a2:resolved+fired")
        .await
        .unwrap();
    assert_eq!(claimed.recipient.as_deref(), Some("cto@example.com"));
}

#[tokio::test]
async fn after_a_kill_a_claimed_message_is_claimed_again_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = Store::open_for_daemon(&path, at(0)).unwrap();
    store
        .load_organization(&ORGANIZATION.into(), at(0), at(0))
        .await
        .unwrap();
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    check_claim(&store, 1, "one #1 a1:first").await;
    drop(store);
    let store = Store::open_for_daemon(&path, at(2)).unwrap();
    commit_message(&store, "two", 2, &[("a", 2, Resolved)]).await;
    check_claim(&store, 5, "one #2 a1:first").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    check_claim(&store, 5, "two #1 a2:resolved").await;
}

#[tokio::test]
async fn dead_letters_are_listed_counted_and_replayed_under_their_id() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    commit_message(&store, "two", 100, &[("b", 1, First)]).await;
    check_claim(&store, 1, "one #1 a1:first").await;
    finish(&store, "one", retry(2)).await;
    let expired = store.expire(at(1000)).await.unwrap();
    assert_eq!(expired, [("slack".into(), "one".to_owned())]);
    let counts = store.outbox_counts().await.unwrap();
    assert_eq!(
        counts[&NotifierName::from("slack")],
        OutboxCounts {
            n_waiting: 1,
            n_dead: 1
        }
    );
    let filter = MessageFilter {
        state: Some(MessageState::Dead),
        notifier: Some("slack".into()),
        limit: 9,
    };
    let dead = store.messages(&filter).await.unwrap();
    assert_eq!(
        dead[0].last_error.as_deref(),
        Some("older than max_age; last: 503")
    );
    store.replay("on", at(1001), at(9000)).await.unwrap();
    // Nothing is folded into a replayed message.
    let claimed = check_claim(&store, 1001, "one #2 a1:first").await.unwrap();
    assert!(claimed.is_replay);
    finish(
        &store,
        "one",
        AttemptOutcome::Dead {
            error: "410".to_owned(),
        },
    )
    .await;
    check_claim(&store, 1001, "two #1 b1:first").await;
}

#[tokio::test]
async fn changed_settings_make_only_retries_due() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    check_claim(&store, 1, "one #1 a1:first").await;
    finish(&store, "one", retry(100)).await;
    commit_message(&store, "two", 49, &[("b", 1, First)]).await;
    store
        .reset_notifier(&"slack".into(), "mark".to_owned(), at(40))
        .await
        .unwrap();
    assert_eq!(
        store.next_due(&"slack".into(), at(0)).await.unwrap(),
        Some(at(40))
    );
    check_claim(&store, 40, "one #2 a1:first").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    assert_eq!(
        store.next_due(&"slack".into(), at(0)).await.unwrap(),
        Some(at(50))
    );
}

#[tokio::test]
async fn ambiguous_attempts_are_counted_until_a_replay() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    let unclear = |minute| AttemptOutcome::Retry {
        at: at(minute),
        error: "504".to_owned(),
        may_have_arrived: true,
    };
    for (minute, outcome, n_ambiguous) in [(1, unclear(2), 0), (2, retry(3), 1), (3, unclear(4), 1)]
    {
        let claimed = claim(&store, minute).await.unwrap();
        assert_eq!(claimed.n_ambiguous, n_ambiguous);
        finish(&store, "one", outcome).await;
    }
    assert_eq!(claim(&store, 4).await.unwrap().n_ambiguous, 2);
    let error = "given up".to_owned();
    finish(&store, "one", AttemptOutcome::Dead { error }).await;
    store.replay("one", at(5), at(9000)).await.unwrap();
    let claimed = claim(&store, 5).await.unwrap();
    assert_eq!((claimed.n_ambiguous, claimed.n_attempts), (0, 5));
}

#[tokio::test]
async fn case_44_messages_of_a_removed_notifier_become_dead_letters() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    assert!(
        store
            .dead_letter_orphans(&["slack".into()], at(5))
            .await
            .unwrap()
            .is_empty()
    );
    let orphaned = store
        .dead_letter_orphans(&["mail".into()], at(5))
        .await
        .unwrap();
    assert_eq!(orphaned[&NotifierName::from("slack")], 1);
    check_claim(&store, 10, "").await;
}

#[tokio::test]
async fn a_dead_letter_that_is_delivered_after_all_is_delivered() {
    let store = store().await;
    commit_message(&store, "one", 0, &[("a", 1, First)]).await;
    claim(&store, 1).await.unwrap();
    store.expire(at(2000)).await.unwrap();
    finish(&store, "one", retry(3000)).await;
    check_claim(&store, 3000, "").await;
    finish(&store, "one", AttemptOutcome::Delivered).await;
    assert!(store.outbox_counts().await.unwrap().is_empty());
    let error = store
        .finish(
            "none",
            AttemptOutcome::Delivered,
            NotifierState::default(),
            at(0),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error.cause, StoreErrorCause::Unknown(_)),
        "{error}"
    );
}

#[tokio::test]
async fn at_most_five_hundred_messages_are_folded_at_once() {
    let store = store().await;
    let messages = (0..600).map(|n| NewMessage {
        id: format!("m{n:03}"),
        notifier: "slack".into(),
        recipient: None,
        facts: vec![fact(&format!("w{n}"), 1, First)],
        not_before: at(1),
        expires: at(1000),
    });
    let commit = Commit {
        alerts: Vec::new(),
        messages: messages.collect(),
        resume_state: resume_state(0),
        at: at(0),
    };
    store
        .commit_decision(&ORGANIZATION.into(), commit)
        .await
        .unwrap();
    let first = claim(&store, 2).await.unwrap();
    assert_eq!((first.id.as_str(), first.facts.len()), ("m000", 500));
    finish(&store, "m000", AttemptOutcome::Delivered).await;
    let second = claim(&store, 2).await.unwrap();
    assert_eq!((second.id.as_str(), second.facts.len()), ("m500", 100));
}
