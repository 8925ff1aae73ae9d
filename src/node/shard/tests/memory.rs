//! What a long life leaves behind.

use super::*;

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    let mut world = World::new();
    world.careful = false;
    world.settled(0, udp(5060));
    for round in 0..10_000_u64 {
        let (call, flow, invite) = world.invite(round, 0);
        if round % 4 == 0 {
            world.deliver(flow, &invite.response(486).with_to_tag("d1"));
            world.expect(Method::Ack);
        } else {
            world.deliver(flow, &ok(&invite));
            world.expect(Method::Ack);
            world.media(call, Media::Ready);
            world.handle(Input::Stop { call, why: "enough" });
            let (_, bye) = world.expect(Method::Bye);
            world.deliver(flow, &bye.response(200));
        }
        assert_eq!(world.plays().len(), 1);
        world.effects.clear();
        world.later(0.05);
        if round % 1_000 == 0 {
            world.keepalive(0, flow);
            world.next();
        }
    }
    assert_eq!(world.index.calls().count(), 0);
    world.keepalive(0, udp(5060));
    world.later(40.0);
    assert!(world.is_idle());
}

#[test]
fn ten_thousand_strangers_leave_nothing_behind() {
    let mut world = World::new();
    for n in 0..10_000_u64 {
        let flow = flow(Transport::Udp, &format!("10.0.{}.{}:5060", n / 250, n % 250 + 1), 0);
        let register = world.request(Method::Register, device(n), flow);
        world.deliver(flow, &register);
        world.keepalive(n, flow);
        let codes = [world.next_code(), world.next_code()];
        assert!(codes == [401, 404] || codes == [503, 503], "{codes:?}");
        world.effects.clear();
        world.later(0.001);
    }
    world.later(40.0);
    assert!(world.is_idle() && world.shard.devices.is_idle() && world.shard.devices.known() == 0);
}

#[test]
fn registrations_that_come_and_go_leave_only_the_devices() {
    let mut world = World::new();
    world.careful = false;
    for n in 0..1_000 {
        let flow = tcp(n + 1);
        assert_eq!(world.register(n, flow, 3_600), 200);
        world.sent.clear();
        match n % 3 {
            0 => world.handle(Input::ConnectionClosed { connection: n + 1 }),
            1 => assert_eq!(world.register(n, flow, 0), 200),
            _ => {}
        }
        world.effects.clear();
        world.later(0.01);
        world.sent.clear();
    }
    world.later(3_700.0);
    world.check();
    assert_eq!((world.shard.registrations(), world.shard.devices.known()), (0, 1_000));
    assert!(world.is_idle() && world.shard.devices.is_idle());
}
