//! What happens to a device and its streams, from REGISTER to BYE.

use super::*;

const HOME: u16 = 5060;

#[test]
fn from_register_to_bye() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let channels = |world: &World| world.index.channel(&device(0), &camera(0)).is_some();
    assert!(world.index.device(&device(0)).unwrap().online && channels(&world));
    assert_eq!(world.shard.registrations(), 1);

    let (call, flow, invite) = world.invite(1, 0);
    assert_eq!(flow, udp(HOME));
    assert_eq!(crate::sip::shard_of(invite.via().unwrap().branch.unwrap()), Some(3));
    world.deliver(flow, &invite.response(100));
    world.deliver(flow, &ok(&invite));
    let (_, ack) = world.expect(Method::Ack);
    assert_eq!(ack.to_tag(), Some("d1"));
    assert_eq!(world.index.calls().count(), 1);
    world.media(call, Media::Flowing);
    world.media(call, Media::Ready);
    world.want(2, 0);
    assert_eq!(world.plays(), [(1, Ok(call)), (2, Ok(call))]);
    world.media(call, Media::Readers(2));
    for _ in 0..10 {
        world.later(59.0);
        world.keepalive(0, flow);
        assert_eq!(world.next_code(), 200);
    }
    world.media(call, Media::Readers(0));
    world.later(NO_READER);
    let (_, bye) = world.expect(Method::Bye);
    assert_eq!((bye.call_id(), bye.to_tag()), (invite.call_id(), Some("d1")));
    world.deliver(flow, &bye.response(200));
    assert_eq!((world.index.calls().count(), world.shard.calls()), (0, 0));
    world.later(40.0);
    assert!(world.is_idle() && world.sent.is_empty());
    let ends =
        world.effects.iter().filter(|effect| matches!(effect, Effect::Ended { ran: true, .. })).count();
    assert_eq!(ends, 1);
}

#[test]
fn nobody_is_called_who_cannot_be_reached() {
    let mut world = World::new();
    world.want(1, 0);
    assert_eq!(world.plays(), [(1, Err("not_found"))]);
    world.settled(0, tcp(1));
    world.handle(Input::ConnectionClosed { connection: 1 });
    world.want(2, 0);
    assert_eq!(world.plays(), [(2, Err("device_offline"))]);
    world.keepalive(0, tcp(2));
    world.next();
    world.handle(Input::Drain);
    world.want(3, 0);
    assert_eq!(world.plays(), [(3, Err("device_offline"))]);
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut world = World::new();
    world.settled(0, tcp(1));
    let (_, flow, invite) = world.invite(1, 0);
    world.deliver(flow, &invite.response(180));
    world.later(PLAY_TIMEOUT);
    assert_eq!(world.plays(), [(1, Err("invite_timeout"))]);
    let (_, cancel) = world.expect(Method::Cancel);
    world.deliver(flow, &ok(&invite));
    world.deliver(flow, &cancel.response(481));
    world.expect(Method::Ack);
    let (_, bye) = world.expect(Method::Bye);
    world.deliver(flow, &bye.response(200));
    world.later(40.0);
    assert!(world.is_idle() && world.index.calls().count() == 0);
}

#[test]
fn a_cancelled_invite_ends_by_487() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (_, flow, invite) = world.invite(1, 0);
    world.deliver(flow, &invite.response(100));
    world.later(PLAY_TIMEOUT);
    let (_, cancel) = world.expect(Method::Cancel);
    world.deliver(flow, &cancel.response(200));
    world.deliver(flow, &invite.response(487).with_to_tag("d1"));
    world.expect(Method::Ack);
    world.later(40.0);
    assert!(world.is_idle() && world.sent.is_empty());
}

#[test]
fn an_invite_that_nobody_answers_comes_to_an_end() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    world.invite(1, 0);
    world.later(PLAY_TIMEOUT);
    assert_eq!(world.plays(), [(1, Err("invite_timeout"))]);
    world.later(30.0);
    assert!(world.is_idle());
    assert!(
        world.sent.iter().all(|(_, message)| message.method() == Some(&Method::Invite)),
        "no CANCEL before a 1xx"
    );
}

#[test]
fn a_repeated_200_is_acknowledged_again() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (call, invite) = world.running(1, 0);
    for _ in 0..3 {
        world.deliver(udp(HOME), &ok(&invite));
        world.expect(Method::Ack);
    }
    world.handle(Input::Stop { call, why: "enough" });
    let (_, bye) = world.expect(Method::Bye);
    world.deliver(udp(HOME), &ok(&invite));
    assert!(world.sent.is_empty(), "it is no answer to the BYE");
    assert_eq!(world.shard.calls(), 1);
    world.deliver(udp(HOME), &bye.response(200));
    assert_eq!(world.shard.calls(), 0);
}

#[test]
fn the_device_may_hang_up() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (_, invite) = world.running(1, 0);
    let mut bye = world.request(Method::Bye, camera(0), udp(HOME));
    bye.set("Call-ID", invite.call_id().unwrap());
    bye.set("From", format!("{};tag=d1", invite.header("To").unwrap()));
    bye.set("To", invite.header("From").unwrap());
    world.deliver(udp(HOME), &bye);
    assert_eq!(world.next_code(), 200);
    world.deliver(udp(HOME), &bye);
    assert_eq!(world.next_code(), 200, "from memory");
    assert_eq!((world.shard.calls(), world.index.calls().count()), (0, 0));
    world.later(40.0);
    assert!(world.is_idle() && world.sent.is_empty());
}

#[test]
fn a_bye_goes_to_where_the_device_is_now() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (call, _) = world.running(1, 0);
    world.keepalive(0, udp(6_001));
    world.next();
    world.handle(Input::Stop { call, why: "enough" });
    assert_eq!(world.expect(Method::Bye).0, udp(6_001));

    let mut world = World::new();
    world.settled(0, tcp(1));
    let (call, _) = world.running(1, 0);
    assert_eq!(world.register(0, tcp(2), 3_600), 200);
    world.handle(Input::ConnectionClosed { connection: 1 });
    assert!(world.index.device(&device(0)).unwrap().online);
    world.handle(Input::Stop { call, why: "enough" });
    assert_eq!(world.expect(Method::Bye).0, tcp(2));
}

#[test]
fn calls_that_were_left_open_by_a_restart_are_ended() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (_, invite) = world.running(1, 0);
    let mut world = world.restarted();
    let (flow, bye) = world.expect(Method::Bye);
    assert_eq!((flow, bye.call_id()), (udp(HOME), invite.call_id()));
    world.deliver(flow, &bye.response(481));
    assert_eq!(world.index.calls().count(), 0);
    assert!(world.shard.left_over.is_empty());

    // Over TCP as soon as the device has connected again.
    let mut world = World::new();
    world.settled(0, tcp(1));
    let (_, invite) = world.running(1, 0);
    let mut world = world.restarted();
    assert!(world.sent.is_empty() && !world.index.device(&device(0)).unwrap().online);
    assert_eq!(world.register(0, tcp(9), 3_600), 200);
    let byes: Vec<_> =
        world.sent.iter().filter(|(_, message)| message.method() == Some(&Method::Bye)).collect();
    assert_eq!(byes.len(), 1);
    assert_eq!((byes[0].0, byes[0].1.call_id()), (tcp(9), invite.call_id()));
}

#[test]
fn a_call_whose_device_was_cut_off_is_ended_when_it_is_back() {
    let mut world = World::new();
    world.settled(0, tcp(1));
    let (_, invite) = world.running(1, 0);
    world.handle(Input::ConnectionClosed { connection: 1 });
    assert!(world.sent.is_empty(), "there is no way");
    assert_eq!((world.shard.calls(), world.index.calls().count()), (0, 1));
    world.keepalive(0, tcp(2));
    assert_eq!(world.next_code(), 200);
    let (flow, bye) = world.expect(Method::Bye);
    assert_eq!((flow, bye.call_id()), (tcp(2), invite.call_id()));
    assert_eq!(world.index.calls().count(), 0);
    world.deliver(flow, &bye.response(200));

    // Over UDP nobody knows that it is gone until the BYE is not answered.
    let mut world = World::new();
    world.settled(0, udp(HOME));
    let (call, _) = world.running(1, 0);
    world.media(call, Media::Readers(1));
    world.later(180.0);
    world.later(40.0);
    assert!(world.sent.drain(..).all(|(_, message)| message.method() == Some(&Method::Bye)));
    world.keepalive(0, udp(HOME));
    assert_eq!(world.next_code(), 200);
    world.expect(Method::Bye);
    assert_eq!(world.index.calls().count(), 0);
}

#[test]
fn a_connection_that_is_lost_during_invite_leaves_nothing_behind() {
    let mut world = World::new();
    world.settled(0, tcp(1));
    world.invite(1, 0);
    world.handle(Input::ConnectionClosed { connection: 1 });
    assert_eq!(world.plays().len(), 1);
    assert_eq!((world.shard.calls(), world.shard.left_over.len()), (0, 0));
    assert!(world.is_idle());
}

#[test]
fn a_device_that_is_removed_takes_everything_with_it() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    world.running(1, 0);
    world.index.apply(&Write::DeleteDevice { device: device(0) });
    world.handle(Input::RemoveDevice { device: device(0) });
    let (flow, _) = world.expect(Method::Bye);
    assert_eq!(flow, udp(HOME), "it hears of it");
    world.later(40.0);
    assert!(world.is_idle() && world.shard.left_over.is_empty() && world.shard.devices.known() == 0);
}

#[test]
fn a_shutdown_ends_all_calls() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    world.settled(1, udp(HOME));
    world.running(1, 0);
    world.invite(2, 1);
    world.handle(Input::Drain);
    assert_eq!(world.plays(), [(2, Err("stream_stopped"))]);
    let (flow, bye) = world.expect(Method::Bye);
    world.deliver(flow, &bye.response(200));
    world.later(32.0);
    assert_eq!(world.shard.calls(), 0);
}

#[test]
fn a_request_is_answered_once_and_then_from_memory() {
    let mut world = World::new();
    world.held = Some(VecDeque::new());
    let flow = udp(HOME);
    world.register(0, flow, 3_600);
    assert_eq!(world.held.as_ref().unwrap().len(), 1);
    world.settle(true);
    assert_eq!(world.next_code(), 200);
    let keepalive = world.request(Method::Message, device(0), flow);
    let body = Bytes::from(write::keepalive(1, &device(0), &[]));
    let keepalive = keepalive.with_body(manscdp::CONTENT_TYPE, body);
    world.sent.clear();
    world.effects.clear();
    for _ in 0..2 {
        world.deliver(flow, &keepalive);
        assert_eq!(world.next_code(), 200);
    }
    assert_eq!(world.effects.len(), 1, "one sign of life");
}

#[test]
fn a_key_frame_is_asked_of_the_camera() {
    let mut world = World::new();
    world.settled(0, udp(HOME));
    world.handle(Input::KeyFrame { key: key(0) });
    let (flow, control) = world.expect(Method::Message);
    assert!(control.uri().unwrap().starts_with(&format!("sip:{}@", camera(0))));
    assert!(std::str::from_utf8(&control.body).unwrap().contains("<IFameCmd>Send</IFameCmd>"));
    world.deliver(flow, &control.response(200));
    world.handle(Input::KeyFrame { key: key(5) });
    assert!(world.sent.is_empty());
}
