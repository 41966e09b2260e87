//! Joining: an invitation that is read is written as the same line again; so is a word of the conversation. Whatever
//! the desk is asked, nobody comes in without the secret, and what a visitor hears brings it in only with a proof.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncer::causality::SiteId;
use syncer::joining::{
    Bound, Desk, Fingerprint, Frame, Invitation, SECRET_BYTES, Secret, Standing, Step, Visit,
};

fn secret() -> Secret {
    Secret::new([0x5A; SECRET_BYTES].into())
}

fn standing() -> Option<Standing> {
    let fingerprint = format!("SHA256{}", ":AB".repeat(32));
    Some(Standing {
        database_id: "orders".into(),
        me: (SiteId::new(b"a").ok()?, Fingerprint::parse(&fingerprint)?),
        peers: Vec::new(),
        known_as: None,
        is_former: false,
        has_whole_logs: true,
        began_empty: true,
    })
}

fuzz_target!(|data: &[u8]| {
    if let Ok(invitation) = Invitation::parse(&String::from_utf8_lossy(data)) {
        let line = invitation.line();
        assert_eq!(Invitation::parse(&line).map(|again| again.line()), Ok(line));
    }
    let Ok(frame) = Frame::decode(data) else { return };
    let line = frame.encode();
    if let Ok(line) = &line {
        assert_eq!(Frame::decode(line).as_ref(), Ok(&frame));
    }
    let Some(standing) = standing() else { return };
    let me = standing.me;
    if let Frame::Ask(ask) = &frame {
        let mut desk = Desk::default();
        let _ = desk.open(secret(), 10, 0);
        assert!(desk.judge(ask, me.1, &standing, 5).is_err());
    }
    let bound = Bound {
        database_id: standing.database_id,
        inviter: me,
        guest: me,
        address: "h:1".into(),
        is_empty: true,
        is_agreed: false,
    };
    let step = Visit::new(secret(), bound).handle(frame);
    assert!(!matches!(step, Ok(Step::Keep { .. } | Step::Joined)));
});
