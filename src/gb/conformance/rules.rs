//! The rules.

use super::Severity;

/// One line a rule: its name, its code, how much it matters, where it stands, and what is broken, in English and in
/// Chinese.
macro_rules! rules {
    ($($name:ident $code:literal $severity:ident $clause:literal $says:literal $says_zh:literal;)*) => {
        /// A rule that a device can break.
        #[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub enum Rule {
            $(#[doc = $says] $name,)*
        }

        impl Rule {
            /// All of them, by subject.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The stable name.
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }

            /// Where it stands.
            pub fn clause(self) -> &'static str {
                match self { $(Rule::$name => $clause,)* }
            }

            /// What is broken, in one sentence.
            pub fn says(self) -> &'static str {
                match self { $(Rule::$name => $says,)* }
            }

            /// The same in Chinese.
            pub fn says_zh(self) -> &'static str {
                match self { $(Rule::$name => $says_zh,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity,)* }
            }
        }
    };
}

rules! {
    // Bodies of MANSCDP.
    CharsetDeclaredWrong "charset-declared-wrong" Fault "GB/T 28181-2016 6.10"
        "The body is in another encoding than its XML declaration names."
        "消息体的实际编码与 XML 声明不一致。";
    XmlNotWellFormed "xml-not-well-formed" Fault "GB/T 28181-2016 A.1"
        "The body is not well-formed XML."
        "消息体不是格式良好的 XML。";
    XmlUnreadable "xml-unreadable" Fault "GB/T 28181-2016 A.1"
        "The body cannot be read: no XML, an unknown root or no CmdType."
        "消息体无法解析：不是 XML、根元素未知或缺少 CmdType。";
    XmlMissingDeviceId "xml-missing-device-id" Fault "GB/T 28181-2016 A.2.5"
        "The body has no DeviceID that could be one."
        "消息体缺少有效的 DeviceID。";
    CommandUnknown "command-unknown" Notice "GB/T 28181-2016 A.2"
        "The CmdType is none of the standard's."
        "CmdType 不在标准规定的命令之列。";
    SnMissing "sn-missing" Fault "GB/T 28181-2016 A.2"
        "The body has no SN, or one that is no number from 1."
        "消息体缺少 SN，或 SN 不是大于等于 1 的整数。";
    ResultMissing "result-missing" Notice "GB/T 28181-2016 A.2.6"
        "A response that has to say OK or ERROR has no Result."
        "必须给出结果的应答缺少 Result。";
    TimeFormatWrong "time-format-wrong" Notice "GB/T 28181-2016 A.2.1"
        "A time is not of the form 2024-05-01T08:00:00."
        "时间字段不符合 2024-05-01T08:00:00 的格式。";
    DeviceInfoIncomplete "device-info-incomplete" Notice "GB/T 28181-2016 A.2.6"
        "The device does not tell its manufacturer and model."
        "设备信息应答缺少厂商或型号。";
    DeviceStatusIncomplete "device-status-incomplete" Notice "GB/T 28181-2016 A.2.6"
        "The device status lacks Online or Status."
        "设备状态应答缺少 Online 或 Status。";
    AlarmFieldMissing "alarm-field-missing" Fault "GB/T 28181-2016 A.2.5"
        "An alarm lacks its priority, method or time."
        "报警通知缺少级别、方式或时间。";
    PositionFieldMissing "position-field-missing" Fault "GB/T 28181-2016 A.2.5"
        "A position lacks its time or coordinates."
        "移动位置通知缺少时间或经纬度。";
    RecordFieldMissing "record-field-missing" Fault "GB/T 28181-2016 A.2.1"
        "A recording lacks its DeviceID, name or times."
        "录像项缺少 DeviceID、名称或起止时间。";
    // Identifiers and catalogs.
    IdNot20Digits "id-not-20-digits" Fault "GB/T 28181-2016 annex D"
        "An identifier has not 20 digits."
        "编码不是 20 位数字。";
    IdUnknownType "id-unknown-type" Notice "GB/T 28181-2016 annex D"
        "Digits 11 to 13 of an identifier are no type of the standard."
        "编码第 11 至 13 位不是标准规定的类型。";
    CatalogSumnumWrong "catalog-sumnum-wrong" Fault "GB/T 28181-2016 A.2.6"
        "SumNum of a catalog is not the number of its items."
        "目录应答的 SumNum 与实际条目数不符。";
    CatalogNumWrong "catalog-num-wrong" Notice "GB/T 28181-2016 A.2.6"
        "Num of a list is not the number of items in it."
        "列表的 Num 属性与列表内条目数不符。";
    CatalogDuplicateIds "catalog-duplicate-ids" Fault "GB/T 28181-2016 A.2.6"
        "A catalog lists the same DeviceID more than once."
        "目录中同一 DeviceID 出现多次。";
    CatalogItemWithoutId "catalog-item-without-id" Fault "GB/T 28181-2016 A.2.1"
        "An item of the catalog has no DeviceID that could be one."
        "目录项缺少有效的 DeviceID。";
    CatalogItemWithoutName "catalog-item-without-name" Fault "GB/T 28181-2016 A.2.1"
        "An item of the catalog has no name."
        "目录项缺少名称。";
    CatalogItemWithoutManufacturer "catalog-item-without-manufacturer" Notice "GB/T 28181-2016 A.2.1"
        "A device in the catalog has no manufacturer or model."
        "目录中的设备缺少厂商或型号。";
    CatalogItemWithoutCivilCode "catalog-item-without-civil-code" Notice "GB/T 28181-2016 A.2.1"
        "A device in the catalog has no CivilCode."
        "目录中的设备缺少行政区划码。";
    CatalogItemWithoutParent "catalog-item-without-parent" Notice "GB/T 28181-2016 annex O"
        "An item of the catalog has no ParentID."
        "目录项缺少 ParentID。";
    CatalogItemWithoutStatus "catalog-item-without-status" Fault "GB/T 28181-2016 A.2.1"
        "A device in the catalog has no status."
        "目录中的设备缺少状态。";
    CatalogParentUnknown "catalog-parent-unknown" Notice "GB/T 28181-2016 annex O"
        "The ParentID of an item is in no catalog of the device."
        "目录项的 ParentID 不在该设备的目录之中。";
    CatalogParentalWrong "catalog-parental-wrong" Notice "GB/T 28181-2016 A.2.1"
        "Parental is neither 0 nor 1."
        "Parental 既不是 0 也不是 1。";
    CatalogOrganisationWithoutGroup "catalog-organisation-without-group" Notice "GB/T 28181-2016 annex O"
        "A virtual organisation names no business group."
        "虚拟组织缺少所属业务分组。";
    CatalogEventUnknown "catalog-event-unknown" Fault "GB/T 28181-2016 annex P"
        "The event of a catalog notify is none of the standard's."
        "目录通知的事件类型不在标准规定之列。";
    CivilCodeWrong "civil-code-wrong" Fault "GB/T 28181-2016 A.2.1"
        "A CivilCode has not 2, 4, 6 or 8 digits."
        "行政区划码不是 2、4、6 或 8 位数字。";
    // Registration and presence.
    RegisterExpiresTooShort "register-expires-too-short" Notice "GB/T 28181-2016 9.1.1"
        "The device asks for a registration of less than 3600 s."
        "注册有效期小于 3600 秒。";
    RegisterFromToDiffer "register-from-to-differ" Fault "GB/T 28181-2016 9.1.2"
        "From and To of a REGISTER name different devices."
        "REGISTER 的 From 与 To 不是同一设备。";
    NonceReused "nonce-reused" Notice "RFC 2617 3.2.2"
        "The device repeats an old nonce or its count."
        "设备重复使用旧的 nonce 或 nc。";
    EditionUnknown "edition-unknown" Notice "GB/T 28181-2022 annex I"
        "X-GB-Ver has a value that the standard does not know."
        "X-GB-Ver 的取值不在标准规定之列。";
    KeepaliveTooLate "keepalive-too-late" Notice "GB/T 28181-2016 9.6"
        "A keepalive came later than the agreed interval."
        "心跳晚于约定的间隔。";
    KeepaliveMissed "keepalive-missed" Fault "GB/T 28181-2016 9.6"
        "So many keepalives are missing that the device is taken for offline."
        "连续缺失心跳，设备被判为离线。";
    KeepaliveStatusError "keepalive-status-error" Notice "GB/T 28181-2016 9.6"
        "The device says of itself that it does not work."
        "设备在心跳中报告自身故障。";
    ClockWrong "clock-wrong" Fault "GB/T 28181-2016 9.10"
        "The clock of the device is off by more than 5 s."
        "设备时钟偏差超过 5 秒。";
    // SIP.
    SipContentLengthWrong "sip-content-length-wrong" Fault "RFC 3261 20.14"
        "Content-Length is not the length of the body."
        "Content-Length 与消息体长度不符。";
    SipHeaderMalformed "sip-header-malformed" Fault "RFC 3261 25"
        "A header of a message cannot be read."
        "SIP 消息的头域无法解析。";
    SipHeaderMissing "sip-header-missing" Fault "RFC 3261 8.1.1"
        "A message lacks a header that each message has to have."
        "SIP 消息缺少必备的头域。";
    SipNotSip "sip-not-sip" Notice "GB/T 28181-2022 4.3.2"
        "Bytes that are no SIP came from the device's signalling port."
        "设备的信令端口发来非 SIP 数据。";
    SipContentTypeWrong "sip-content-type-wrong" Notice "GB/T 28181-2016 annex J"
        "The Content-Type of a body is not the standard's."
        "消息体的 Content-Type 不符合标准。";
    NoRport "no-rport" Notice "RFC 3581 3"
        "The Via of a request has no rport."
        "请求的 Via 头域没有 rport。";
    MessageWithout200 "message-without-200" Fault "GB/T 28181-2016 9.3"
        "The device does not acknowledge a request."
        "设备不确认收到的请求。";
    AnswerMissing "answer-missing" Fault "GB/T 28181-2016 9.5"
        "The device acknowledges a query or control and never answers it."
        "设备确认了查询或控制，但始终没有业务应答。";
    AnswerLate "answer-late" Notice "GB/T 28181-2016 9.5"
        "The answer to a query came after its time."
        "设备的业务应答超时才到达。";
    AnswerSnWrong "answer-sn-wrong" Fault "GB/T 28181-2016 A.1"
        "An answer has another SN than the query."
        "应答的 SN 与查询不一致。";
    AnswerDeviceIdWrong "answer-device-id-wrong" Notice "GB/T 28181-2016 A.1"
        "An answer has another DeviceID than the query."
        "应答的 DeviceID 与查询不一致。";
    QueryRefused "query-refused" Notice "GB/T 28181-2016 9.5"
        "The device refuses a query that its edition has."
        "设备拒绝其标准版本规定的查询。";
    SubscribeRefused "subscribe-refused" Notice "GB/T 28181-2016 9.11"
        "The device refuses a subscription that its edition has."
        "设备拒绝其标准版本规定的订阅。";
    NotifyUnasked "notify-unasked" Notice "GB/T 28181-2016 9.11"
        "A NOTIFY came without a subscription."
        "设备在没有订阅时发送 NOTIFY。";
    ConfigIgnored "config-ignored" Fault "GB/T 28181-2016 9.3"
        "The device says OK to a configuration and does not take it."
        "设备对配置返回 OK，但配置并未生效。";
    // Calls.
    InviteNoTrying "invite-no-trying" Notice "RFC 3261 8.2.6"
        "The device answers no INVITE with 100 while it prepares."
        "设备处理 INVITE 较久，却没有先返回 100。";
    InviteNoContact "invite-no-contact" Notice "RFC 3261 12.1"
        "The answer to an INVITE has no Contact."
        "INVITE 的应答没有 Contact。";
    SdpUnreadable "sdp-unreadable" Fault "GB/T 28181-2016 annex F"
        "The session description cannot be read."
        "SDP 无法解析。";
    SdpLineOrder "sdp-line-order" Notice "RFC 4566 5"
        "The lines of the session description are out of order."
        "SDP 各行的次序不对。";
    SdpNoY "sdp-no-y" Fault "GB/T 28181-2016 annex F"
        "The session description has no y= line."
        "SDP 缺少 y 字段。";
    SdpOtherSsrc "sdp-other-ssrc" Notice "GB/T 28181-2016 annex F"
        "The answer has another SSRC than the platform gave."
        "应答的 SSRC 与平台分配的不同。";
    SdpSetupNotReversed "sdp-setup-not-reversed" Notice "RFC 4145 4.1"
        "The answer repeats the setup of the offer in place of its opposite."
        "应答的 setup 重复了请求的值，而不是与之相对。";
    SdpOtherTransport "sdp-other-transport" Fault "GB/T 28181-2016 annex F"
        "The answer has another transport than the offer."
        "应答的传输方式与请求不同。";
    ByeIgnored "bye-ignored" Fault "GB/T 28181-2016 9.2"
        "The device goes on sending media after BYE."
        "设备在 BYE 之后仍继续发送媒体流。";
    FileEndMissing "file-end-missing" Notice "GB/T 28181-2016 9.8"
        "A recording ended without MediaStatus 121."
        "录像播放结束时没有发送 MediaStatus 121。";
    BroadcastNoInvite "broadcast-no-invite" Fault "GB/T 28181-2016 9.12"
        "The device says OK to a broadcast and sends no INVITE."
        "设备对语音广播返回 OK，但没有发出 INVITE。";
    // Media.
    MediaMissing "media-missing" Fault "GB/T 28181-2016 9.2"
        "The device accepts a call and sends no media."
        "设备接受了呼叫，但没有发送媒体流。";
    RtpSsrcNotAgreed "rtp-ssrc-not-agreed" Fault "GB/T 28181-2016 annex F"
        "RTP has another SSRC than was agreed."
        "RTP 的 SSRC 与协商的不同。";
    RtpPayloadType "rtp-payload-type" Notice "GB/T 28181-2016 annex C"
        "RTP has another payload type than was agreed."
        "RTP 的负载类型与协商的不同。";
    RtpMarkerMissing "rtp-marker-missing" Notice "RFC 3550 5.1"
        "The last packet of a frame has no marker."
        "一帧的最后一个 RTP 包没有标记位。";
    RtpLoss "rtp-loss" Notice "RFC 3550 6.4"
        "RTP packets are lost on the way."
        "RTP 包在途中丢失。";
    TcpFraming "tcp-framing" Fault "GB/T 28181-2016 annex L"
        "Media over TCP are not framed as RFC 4571 has it."
        "TCP 媒体流没有按 RFC 4571 分帧。";
    PsNoPsm "ps-no-psm" Fault "GB/T 28181-2016 annex C"
        "Key frames have no program stream map."
        "关键帧没有节目流映射（PSM）。";
    PsPsmCrc "ps-psm-crc" Notice "ISO/IEC 13818-1 2.5.4"
        "The CRC of the program stream map is wrong."
        "节目流映射（PSM）的 CRC 错误。";
    PsPsmBroken "ps-psm-broken" Fault "ISO/IEC 13818-1 2.5.4"
        "The lengths in the program stream map do not agree."
        "节目流映射（PSM）内的长度互相矛盾。";
    PsStreamTypeLies "ps-stream-type-lies" Fault "GB/T 28181-2016 annex C"
        "The program stream map names another codec than the stream has."
        "节目流映射（PSM）声明的编码与实际不符。";
    PsNoSystemHeader "ps-no-system-header" Notice "GB/T 28181-2016 annex C"
        "Key frames have no system header."
        "关键帧没有系统头。";
    PsPesLengthZero "ps-pes-length-zero" Notice "ISO/IEC 13818-1 2.4.3"
        "A PES packet has the length 0."
        "PES 包的长度为 0。";
    PsPesLengthWrong "ps-pes-length-wrong" Fault "ISO/IEC 13818-1 2.4.3"
        "A PES packet is longer or shorter than it says."
        "PES 包的实际长度与声明的不符。";
    PsSyncLost "ps-sync-lost" Fault "ISO/IEC 13818-1 2.5.3"
        "The program stream has bytes that belong to nothing."
        "节目流中有不属于任何单元的数据。";
    PsTimeJump "ps-time-jump" Notice "ISO/IEC 13818-1 2.7"
        "Time stamps of the stream jump."
        "码流的时间戳跳变。";
    CodecUnknown "codec-unknown" Fault "GB/T 28181-2016 annex C"
        "The stream has a codec that the standard does not have."
        "码流的编码不在标准规定之列。";
    NoParameterSets "no-parameter-sets" Fault "GB/T 28181-2016 annex C"
        "Key frames have no parameter sets before them."
        "关键帧之前没有参数集。";
    GopTooLong "gop-too-long" Notice "practice"
        "Key frames are more than 10 s apart."
        "关键帧间隔超过 10 秒。";
}
