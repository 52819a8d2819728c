package catalog

// Alerts that are told in chats, mails and the digest, and what stands around them there.
// Kinds, severities and commands are words of the program in any language.
const (
	AlertReportDue         Key = "alert.report-due"
	AlertReportOverdue     Key = "alert.report-overdue"
	AlertFiling            Key = "alert.filing"
	AlertMayday            Key = "alert.mayday"
	AlertMaydayElsewhere   Key = "alert.mayday-elsewhere"
	AlertMaydayContact     Key = "alert.mayday-contact"
	AlertMaydayNoContact   Key = "alert.mayday-no-contact"
	AlertMaydayCall        Key = "alert.mayday-call"
	AlertMaydayClock       Key = "alert.mayday-clock"
	AlertMaydayBack        Key = "alert.mayday-back"
	AlertMaydayDisputed    Key = "alert.mayday-disputed"
	AlertSupplier          Key = "alert.supplier"
	AlertSpreading         Key = "alert.spreading"
	AlertSpreadingMore     Key = "alert.spreading-more"
	AlertAndMore           Key = "alert.and-more"
	AlertQuestion          Key = "alert.question"
	AlertQuestionKept      Key = "alert.question-kept"
	AlertNotDelivered      Key = "alert.not-delivered"
	AlertNoMember          Key = "alert.no-member"
	AlertNotReached        Key = "alert.not-reached"
	AlertOldKeys           Key = "alert.old-keys"
	AlertNotOpened         Key = "alert.not-opened"
	AlertTieSupplier       Key = "alert.tie-supplier"
	AlertTieSeen           Key = "alert.tie-seen"
	AlertHit               Key = "alert.hit"
	AlertHitMatches        Key = "alert.hit-matches"
	AlertHitLines          Key = "alert.hit-lines"
	AlertHitLine           Key = "alert.hit-line"
	AlertHitWhy            Key = "alert.hit-why"
	AlertHitMore           Key = "alert.hit-more"
	AlertSeenHere          Key = "alert.seen-here"
	AlertSeenHereToo       Key = "alert.seen-here-too"
	AlertSeenHereMore      Key = "alert.seen-here-more"
	AlertOnce              Key = "alert.once"
	AlertTimes             Key = "alert.times"
	AlertFirstLast         Key = "alert.first-last"
	AlertToday             Key = "alert.today"
	AlertYesterday         Key = "alert.yesterday"
	AlertDaysAgo           Key = "alert.days-ago"
	AlertTest              Key = "alert.test"
	AlertAbove             Key = "alert.above"
	AlertLogLine           Key = "alert.log-line"
	AlertRepeated          Key = "alert.repeated"
	AlertBy                Key = "alert.by"
	AlertAck               Key = "alert.ack"
	AlertTitleAbove        Key = "alert.title-above"
	AlertTitleDigest       Key = "alert.title-digest"
	AlertTitleTest         Key = "alert.title-test"
	AlertTitleEscalation   Key = "alert.title-escalation"
	AlertTitleRepeat       Key = "alert.title-repeat"
	AlertTitleAcknowledged Key = "alert.title-acknowledged"
	AlertTitleOver         Key = "alert.title-over"
	AlertDigestOpen        Key = "alert.digest-open"
	AlertDigestGroup       Key = "alert.digest-group"
	AlertDigestMore        Key = "alert.digest-more"
	AlertDigestKinds       Key = "alert.digest-kinds"
	AlertDigestAbove       Key = "alert.digest-above"
	AlertLimit             Key = "alert.limit"
)

var alertTexts = texts{
	AlertReportDue: {
		en: "NIS 2: %s of incident %s is due %s, in %s, and has not arrived. More: watchward incident show %s",
		de: "NIS-2: %s zu Vorfall %s ist am %s fällig, in %s, und noch nicht angekommen. Mehr: watchward incident show %s",
	},
	AlertReportOverdue: {
		en: "NIS 2: %s of incident %s was due %s and has not arrived. More: watchward incident show %s",
		de: "NIS-2: %s zu Vorfall %s war am %s fällig und ist nicht angekommen. Mehr: watchward incident show %s",
	},
	AlertFiling: {
		en: "%s reports incident %s to this house (%s), which it knows of since %s. More: watchward incident show %s --out report.html",
		de: "%s meldet diesem Haus Vorfall %s (%s), dort bekannt seit %s. Mehr: watchward incident show %s --out report.html",
	},
	AlertMayday: {
		en: "MAYDAY: %s is under attack and says: %s.",
		de: "MAYDAY: %s wird angegriffen und sagt: %s.",
	},
	AlertMaydayElsewhere: {
		en: " It is of another region; %s.",
		de: " Es gehört zu einer anderen Region; %s.",
	},
	AlertMaydayContact: {
		en: " Contact: %s.",
		de: " Kontakt: %s.",
	},
	AlertMaydayNoContact: {
		en: " It has told no contact.",
		de: " Ein Kontakt ist nicht bekannt.",
	},
	AlertMaydayCall: {
		en: " Call back: a stolen key can lie.",
		de: " Rufen Sie zurück: Ein gestohlener Schlüssel kann lügen.",
	},
	AlertMaydayClock: {
		en: " Its clock is off.",
		de: " Seine Uhr geht falsch.",
	},
	AlertMaydayBack: {
		en: "%s takes its mayday back%s. Call back all the same: a stolen key can lie.",
		de: "%s nimmt seinen Notruf zurück%s. Rufen Sie trotzdem zurück: Ein gestohlener Schlüssel kann lügen.",
	},
	AlertMaydayDisputed: {
		en: "%s, a coordinator, disputes the mayday of %s%s. It stands until it is taken back: call both.",
		de: "%s, Koordinator, bestreitet den Notruf von %s%s. Er gilt, bis er zurückgenommen wird: Rufen Sie beide an.",
	},
	AlertSupplier: {
		en: "SUPPLIER: %s has cut its link to %s, which you have too%s. Ask them, and decide whether to cut yours: watchward situation, watchward link cut",
		de: "DIENSTLEISTER: %s hat seine Verbindung zu %s getrennt, die auch Sie haben%s. Fragen Sie nach, und entscheiden Sie über Ihre: watchward situation, watchward link cut",
	},
	AlertSpreading: {
		en: "SPREADING: %s was seen at %d organisations within 72 h: %s. Look for it here, and ask them: watchward situation",
		de: "AUSBREITUNG: %s wurde innerhalb von 72 Stunden bei %d Einrichtungen gesehen: %s. Suchen Sie danach, und fragen Sie dort nach: watchward situation",
	},
	AlertSpreadingMore: {
		en: "SPREADING: more than %d things within an hour. All of them: watchward situation",
		de: "AUSBREITUNG: mehr als %d Werte innerhalb einer Stunde. Alle: watchward situation",
	},
	AlertAndMore: {
		en: "and %d more",
		de: "und %d weitere",
	},
	AlertQuestion: {
		en: "%s asks who has seen %s %s. This hospital has (last %s)%s. Decide what they may know: watchward respond",
		de: "%s fragt, wer %s %s gesehen hat. Dieses Haus hat es (zuletzt %s)%s. Entscheiden Sie, was man dort wissen darf: watchward respond",
	},
	AlertQuestionKept: {
		en: ", and has not shared it",
		de: " und hat es nicht geteilt",
	},
	AlertNotDelivered: {
		en: "Notice %s was not delivered to %s: it %s. Call them if it still matters.",
		de: "Mitteilung %s wurde nicht zugestellt. Empfänger: %s; %s. Rufen Sie dort an, wenn sie noch wichtig ist.",
	},
	AlertNoMember: {
		en: "is no member any more, or has no valid credential",
		de: "kein Mitglied mehr oder ohne gültigen Ausweis",
	},
	AlertNotReached: {
		en: "could not be reached before the notice expired",
		de: "nicht erreicht, bevor die Mitteilung ablief",
	},
	AlertOldKeys: {
		en: "was sealed with keys of this node that are revoked since: say it again with the new ones",
		de: "versiegelt mit inzwischen gesperrten Schlüsseln dieses Knotens: mit den neuen noch einmal senden",
	},
	AlertNotOpened: {
		en: "cannot open it or does not take it; its keys may have changed",
		de: "kann sie nicht öffnen oder nimmt sie nicht an; die Schlüssel haben sich vielleicht geändert",
	},
	AlertTieSupplier: {
		en: "it has the supplier %s too",
		de: "es hat ebenfalls den Dienstleister %s",
	},
	AlertTieSeen: {
		en: "both have seen %s",
		de: "beide haben %s gesehen",
	},
	AlertHit: {
		en: "HIT in log %s: %s %s",
		de: "TREFFER im Protokoll %s: %s %s",
	},
	AlertHitMatches: {
		en: ", which matches %s %s",
		de: ", erfasst von %s %s",
	},
	AlertHitLines: {
		en: " (%[2]s). %[1]d lines, %[3]s to %[4]s.",
		de: " (%[2]s). %[1]d Zeilen, %[3]s bis %[4]s.",
	},
	AlertHitLine: {
		en: " (%s). 1 line, %s.",
		de: " (%s). 1 Zeile, %s.",
	},
	AlertHitWhy: {
		en: " Why: %s.",
		de: " Grund: %s.",
	},
	AlertHitMore: {
		en: "HIT: log %s names more than %d known values today; the others are counted and not alerted one by one: watchward logs",
		de: "TREFFER: Protokoll %s nennt heute mehr als %d bekannte Werte; die übrigen werden gezählt und nicht einzeln gemeldet: watchward logs",
	},
	AlertSeenHere: {
		en: "%s was seen here before it was known: %s. %s reports it. Look for what asked for it in your logs of those days.",
		de: "%s wurde hier gesehen, bevor es bekannt war: %s. %s meldet es. Suchen Sie in Ihren Protokollen jener Tage, was danach gefragt hat.",
	},
	AlertSeenHereToo: {
		en: "%s was seen here before it was known: %s. %s has seen it. Look for what asked for it in your logs of those days.",
		de: "%s wurde hier gesehen, bevor es bekannt war: %s. %s hat es gesehen. Suchen Sie in Ihren Protokollen jener Tage, was danach gefragt hat.",
	},
	AlertSeenHereMore: {
		en: "Beyond %d values that became known within the hour and were seen here before, there are %d more or above, such as %s: watchward hunt FILE tells of each value in the list that was imported.",
		de: "Neben %d Werten, die binnen einer Stunde bekannt und hier schon gesehen wurden, gibt es %d weitere oder mehr, etwa %s: watchward hunt DATEI sagt es von jedem Wert einer importierten Liste.",
	},
	AlertOnce: {
		en: "once",
		de: "einmal",
	},
	AlertTimes: {
		en: "%d times",
		de: "%d-mal",
	},
	AlertFirstLast: {
		en: "first %s, %s, last %s",
		de: "zuerst %s, %s, zuletzt %s",
	},
	AlertToday: {
		en: "today",
		de: "heute",
	},
	AlertYesterday: {
		en: "yesterday",
		de: "gestern",
	},
	AlertDaysAgo: {
		en: "%d days ago",
		de: "vor %d Tagen",
	},
	AlertTest: {
		en: "A test of this sink. Nothing has happened.",
		de: "Ein Test dieses Weges. Es ist nichts geschehen.",
	},
	AlertAbove: {
		en: "An alert above this sink's marking: see the node (watchward alerts).",
		de: "Eine Meldung über der Einstufung dieses Weges: siehe Knoten (watchward alerts).",
	},
	AlertLogLine: {
		en: "The first line, for this house alone: %s",
		de: "Die erste Zeile, nur für dieses Haus: %s",
	},
	AlertRepeated: {
		en: " (%d times since %s.)",
		de: " (%d-mal seit %s.)",
	},
	AlertBy: {
		en: "Acknowledged by %s.",
		de: "Übernommen von %s.",
	},
	AlertAck: {
		en: "Who looks after it says so: watchward alerts ack %s",
		de: "Wer sich darum kümmert, sagt es: watchward alerts ack %s",
	},
	AlertTitleAbove: {
		en: "%s: an alert above this sink's marking",
		de: "%s: eine Meldung über der Einstufung dieses Weges",
	},
	AlertTitleDigest: {
		en: "%s: the day in short",
		de: "%s: der Tag in Kürze",
	},
	AlertTitleTest: {
		en: "%s: test",
		de: "%s: Test",
	},
	AlertTitleEscalation: {
		en: " (nobody has acknowledged)",
		de: " (niemand hat übernommen)",
	},
	AlertTitleRepeat: {
		en: " (still not acknowledged)",
		de: " (noch immer nicht übernommen)",
	},
	AlertTitleAcknowledged: {
		en: " (acknowledged)",
		de: " (übernommen)",
	},
	AlertTitleOver: {
		en: " (over)",
		de: " (vorbei)",
	},
	AlertDigestOpen: {
		en: "Nobody has acknowledged %d:",
		de: "Niemand hat übernommen: %d",
	},
	AlertDigestGroup: {
		en: "- alert %s, %s: %s",
		de: "- Meldung %s, %s: %s",
	},
	AlertDigestMore: {
		en: "… and %d more",
		de: "… und %d weitere",
	},
	AlertDigestKinds: {
		en: "Nobody was paged for: %s.",
		de: "Niemand wurde gerufen wegen: %s.",
	},
	AlertDigestAbove: {
		en: "What is marked above this sink is not in here: watchward alerts, watchward situation.",
		de: "Was über diesem Weg eingestuft ist, steht hier nicht: watchward alerts, watchward situation.",
	},
	AlertLimit: {
		en: "The rule %q matched more than %d times within an hour. No more of it is told until the next: watchward alerts, watchward list. If that is too little, set its limit, or what it matches.",
		de: "Die Regel %q traf mehr als %d-mal innerhalb einer Stunde zu. Bis zur nächsten wird nichts weiter davon gemeldet: watchward alerts, watchward list. Ist das zu wenig, ändern Sie ihr limit oder wofür sie gilt.",
	},
}
