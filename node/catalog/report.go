package catalog

import "time"

// Clock is t without its year, for rows of a table: "28 Nov 09:09" or "28.11. 09:09".
func (p *Printer) Clock(t time.Time) string {
	if p.lang == "de" {
		return t.Format("02.01. 15:04")
	}
	return t.Format("2 Jan 15:04")
}

const (
	ReportTitle       Key = "report.title"
	ReportTitleAlone  Key = "report.title-alone"
	ReportLead        Key = "report.lead"
	ReportSources     Key = "report.sources"
	ReportNotices     Key = "report.notices"
	ReportMembers     Key = "report.members"
	ReportHospitals   Key = "report.hospitals"
	ReportAt          Key = "report.at"
	ReportHeadline    Key = "report.headline"
	ReportQuiet       Key = "report.quiet"
	ReportNew         Key = "report.new"
	ReportExercise    Key = "report.exercise"
	ReportAlone       Key = "report.alone"
	ReportReading     Key = "report.reading"
	ReportMore        Key = "report.more"
	ReportMember      Key = "report.member"
	ReportOf          Key = "report.of"
	ReportSince       Key = "report.since"
	ReportUntil       Key = "report.until"
	ReportWho         Key = "report.who"
	ReportState       Key = "report.state"
	ReportReach       Key = "report.reach"
	ReportNoContact   Key = "report.no-contact"
	ReportUnderAttack Key = "report.under-attack"
	ReportDown        Key = "report.down"
	ReportSilent      Key = "report.silent"
	ReportOK          Key = "report.ok"
	ReportAttacked    Key = "report.attacked"
	ReportCallBack    Key = "report.call-back"
	ReportWords       Key = "report.words"
	ReportClockOff    Key = "report.clock-off"
	ReportDisputed    Key = "report.disputed"
	ReportDark        Key = "report.dark"
	ReportNoAttack    Key = "report.no-attack"
	ReportHeard       Key = "report.heard"
	ReportHeardBy     Key = "report.heard-by"
	ReportNeverHeard  Key = "report.never-heard"
	ReportSpreading   Key = "report.spreading"
	ReportWindow      Key = "report.window"
	ReportWhat        Key = "report.what"
	ReportSeenAt      Key = "report.seen-at"
	ReportTimeline    Key = "report.timeline"
	ReportEnds        Key = "report.ends"
	ReportEnded       Key = "report.ended"
	ReportTakenBack   Key = "report.taken-back"
	ReportHourly      Key = "report.hourly"
	ReportHourlyNote  Key = "report.hourly-note"
	ReportLinks       Key = "report.links"
	ReportSupplier    Key = "report.supplier"
	ReportCutBy       Key = "report.cut-by"
	ReportCutAt       Key = "report.cut-at"
	ReportCutNone     Key = "report.cut-none"
	ReportLastWord    Key = "report.last-word"
	ReportCut         Key = "report.cut"
	ReportRestored    Key = "report.restored"
	ReportWhy         Key = "report.why"
	ReportReconnect   Key = "report.reconnect"
	ReportAttested    Key = "report.attested"
	ReportHelp        Key = "report.help"
	ReportAsks        Key = "report.asks"
	ReportOffers      Key = "report.offers"
	ReportAmount      Key = "report.amount"
	ReportConfirmed   Key = "report.confirmed"
	ReportSoMany      Key = "report.so-many-of"
	ReportHelpOpen    Key = "report.help-open"
	ReportHelpCovered Key = "report.help-covered"
	ReportHelpClosed  Key = "report.help-closed"
	ReportHelpLapsed  Key = "report.help-lapsed"
	ReportHelpOver    Key = "report.help-over"
	ReportServices    Key = "report.services"
	ReportDepartment  Key = "report.department"
	ReportAll         Key = "report.all"
	ReportDiverted    Key = "report.diverted"
	ReportClosed      Key = "report.closed"
	ReportOpen        Key = "report.open"
	ReportOver        Key = "report.over"
	ReportRemark      Key = "report.remark"
	ReportQuestions   Key = "report.questions"
	ReportAsked       Key = "report.asked"
	ReportAnswers     Key = "report.answers"
	ReportSeen        Key = "report.seen"
	ReportNotSeen     Key = "report.not-seen"
	ReportUnknown     Key = "report.unknown"
	ReportNoAnswer    Key = "report.no-answer"
	ReportRoll        Key = "report.roll"
	ReportTrust       Key = "report.trust"
	ReportConnected   Key = "report.connected"
	ReportLastIn      Key = "report.last-in"
	ReportNever       Key = "report.never"
	ReportNodeWarns   Key = "report.node-warns"
	ReportPartial     Key = "report.partial"
	ReportListsCut    Key = "report.lists-cut"
	ReportShortened   Key = "report.shortened"
	ReportPrint       Key = "report.print"
	ReportAssessment  Key = "report.assessment"
	ReportSignName    Key = "report.sign-name"
	ReportSignPlace   Key = "report.sign-place"
	ReportSignature   Key = "report.signature"
)

var reportTexts = texts{
	ReportTitle:       {en: "Situation report: %s", de: "Lagebericht: %s"},
	ReportTitleAlone:  {en: "Situation report of one hospital", de: "Lagebericht eines Krankenhauses"},
	ReportLead:        {en: "%s, as %s has it", de: "%s, Stand bei %s"},
	ReportSources:     {en: "Sources: %s of %s · fingerprint %s", de: "Quellen: %s von %s · Fingerabdruck %s"},
	ReportNotices:     {en: "%d signed notices", de: "%d signierte Meldungen", en1: "%d signed notice", de1: "%d signierte Meldung"},
	ReportMembers:     {en: "%d members", de: "%d Mitgliedern", en1: "%d member", de1: "%d Mitglied"},
	ReportHospitals:   {en: "%d hospitals", de: "%d Häuser", en1: "%d hospital", de1: "%d Haus"},
	ReportAt:          {en: "%d hospitals", de: "%d Häusern", en1: "%d hospital", de1: "%d Haus"},
	ReportHeadline:    {en: "Under attack %s, declared down %s, silent %s, of %s.", de: "Unter Angriff %s, ausgefallen %s, still %s, von %s."},
	ReportQuiet:       {en: "Nobody is under attack, down or silent.", de: "Niemand ist unter Angriff, ausgefallen oder still."},
	ReportNew:         {en: "NEW", de: "NEU"},
	ReportExercise:    {en: "EXERCISE", de: "ÜBUNG"},
	ReportAlone:       {en: "This node is connected to nobody: it shows what it holds, and cannot know who is well.", de: "Dieser Knoten ist mit niemandem verbunden: Er zeigt, was er hat, und kann nicht wissen, wem es gut geht."},
	ReportReading:     {en: "This node has just started and still reads what it holds: more will appear.", de: "Dieser Knoten ist gerade gestartet und liest noch, was er hat: Es kommt noch mehr."},
	ReportMore:        {en: "and %d more, which are not shown here", de: "und %d weitere, die hier nicht stehen", en1: "and %d more, which is not shown here", de1: "und %d weitere, die hier nicht steht"},
	ReportMember:      {en: "member %s", de: "Mitglied %s"},
	ReportOf:          {en: "%s of %s", de: "%s (%s)"},
	ReportSince:       {en: "since", de: "seit"},
	ReportUntil:       {en: "until %s", de: "bis %s"},
	ReportWho:         {en: "who", de: "wer"},
	ReportState:       {en: "state", de: "Zustand"},
	ReportReach:       {en: "to reach them", de: "erreichbar"},
	ReportNoContact:   {en: "has told nobody how", de: "hat nichts mitgeteilt"},
	ReportUnderAttack: {en: "UNDER ATTACK", de: "UNTER ANGRIFF"},
	ReportDown:        {en: "DECLARED DOWN", de: "AUSGEFALLEN"},
	ReportSilent:      {en: "SILENT", de: "STILL"},
	ReportOK:          {en: "OK", de: "OK"},
	ReportAttacked:    {en: "Under attack", de: "Unter Angriff"},
	ReportCallBack:    {en: "by their own signed word; call back, a stolen key can lie", de: "nach eigener signierter Meldung; zurückrufen, ein gestohlener Schlüssel kann lügen"},
	ReportWords:       {en: "in their words", de: "in eigenen Worten"},
	ReportClockOff:    {en: "their clock is off", de: "Uhr geht falsch"},
	ReportDisputed:    {en: "DISPUTED by %s, a coordinator: %s", de: "BESTRITTEN von %s, Koordination: %s"},
	ReportDark:        {en: "Declared down, or silent", de: "Ausgefallen oder still"},
	ReportNoAttack:    {en: "SILENT: nobody hears them, which is no attack", de: "STILL: Niemand hört sie; das ist kein Angriff"},
	ReportHeard:       {en: "since, last heard", de: "seit, zuletzt gehört"},
	ReportHeardBy:     {en: "heard by", de: "gehört von"},
	ReportNeverHeard:  {en: "never heard", de: "nie gehört"},
	ReportSpreading:   {en: "Spreading", de: "Breitet sich aus"},
	ReportWindow:      {en: "observed at several hospitals within 72 hours", de: "innerhalb von 72 Stunden in mehreren Häusern beobachtet"},
	ReportWhat:        {en: "what", de: "was"},
	ReportSeenAt:      {en: "seen at", de: "gesehen in"},
	ReportTimeline:    {en: "first seen by each, 72 h ago to now", de: "je Haus zuerst gesehen, vor 72 Std. bis jetzt"},
	ReportEnds:        {en: "marking, counts", de: "Vermerk, zählt"},
	ReportEnded:       {en: "ENDED %s", de: "BEENDET %s"},
	ReportTakenBack:   {en: "ENDED: taken back", de: "BEENDET: zurückgenommen"},
	ReportHourly:      {en: "Sightings by the hour", de: "Sichtungen je Stunde"},
	ReportHourlyNote:  {en: "last 72 hours, %s in all, at most %s in an hour", de: "letzte 72 Stunden, insgesamt %s, höchstens %s in einer Stunde"},
	ReportLinks:       {en: "Links to suppliers", de: "Verbindungen zu Lieferanten"},
	ReportSupplier:    {en: "supplier", de: "Lieferant"},
	ReportCutBy:       {en: "cut now", de: "jetzt getrennt"},
	ReportCutAt:       {en: "by", de: "durch"},
	ReportCutNone:     {en: "nobody has it cut now", de: "derzeit von niemandem getrennt"},
	ReportLastWord:    {en: "last word on it", de: "letzte Meldung dazu"},
	ReportCut:         {en: "cut", de: "getrennt"},
	ReportRestored:    {en: "restored", de: "wieder verbunden"},
	ReportWhy:         {en: "why: %s", de: "Grund: %s"},
	ReportReconnect:   {en: "reconnect when: %s", de: "wieder verbinden, wenn: %s"},
	ReportAttested:    {en: "attested by: %s", de: "bestätigt von: %s"},
	ReportHelp:        {en: "Assistance", de: "Hilfe"},
	ReportAsks:        {en: "asks for %s", de: "bittet um %s"},
	ReportOffers:      {en: "offers %s", de: "bietet %s"},
	ReportAmount:      {en: "%s %s of %s", de: "%s %s %s"},
	ReportConfirmed:   {en: "confirmed", de: "zugesagt"},
	ReportSoMany:      {en: "%s of %s", de: "%s von %s"},
	ReportHelpOpen:    {en: "open", de: "offen"},
	ReportHelpCovered: {en: "covered", de: "gedeckt"},
	ReportHelpClosed:  {en: "closed", de: "geschlossen"},
	ReportHelpLapsed:  {en: "lapsed", de: "verfallen"},
	ReportHelpOver:    {en: "what is open first; what is over is here for 72 hours", de: "Offenes zuerst; Erledigtes bleibt 72 Stunden"},
	ReportServices:    {en: "Services that are not open", de: "Leistungen, die nicht verfügbar sind"},
	ReportDepartment:  {en: "department", de: "Abteilung"},
	ReportAll:         {en: "the whole hospital", de: "das ganze Haus"},
	ReportDiverted:    {en: "diverted", de: "abgemeldet"},
	ReportClosed:      {en: "closed", de: "geschlossen"},
	ReportOpen:        {en: "open", de: "offen"},
	ReportOver:        {en: "that is over; no word since", de: "vorbei; seither keine Meldung"},
	ReportRemark:      {en: "remark", de: "Bemerkung"},
	ReportQuestions:   {en: "Open questions", de: "Offene Fragen"},
	ReportAsked:       {en: "who has seen this?", de: "Wer hat das gesehen?"},
	ReportAnswers:     {en: "answers", de: "Antworten"},
	ReportSeen:        {en: "%d seen", de: "%d gesehen"},
	ReportNotSeen:     {en: "%d not seen", de: "%d nicht gesehen"},
	ReportUnknown:     {en: "%d unknown", de: "%d unbekannt"},
	ReportNoAnswer:    {en: "none yet", de: "noch keine"},
	ReportRoll:        {en: "All members by state", de: "Alle Mitglieder nach Zustand"},
	ReportTrust:       {en: "How far to trust this", de: "Wie weit dem zu trauen ist"},
	ReportConnected:   {en: "%s of %s other members connected.", de: "Mit %s von %s anderen Mitgliedern verbunden."},
	ReportLastIn:      {en: "Last word heard: %s.", de: "Letzte Meldung gehört: %s."},
	ReportNever:       {en: "never", de: "nie"},
	ReportNodeWarns:   {en: "The node has %d warnings: watchward status.", de: "Der Knoten hat %d Warnungen: watchward status.", en1: "The node has %d warning: watchward status.", de1: "Der Knoten hat %d Warnung: watchward status."},
	ReportPartial:     {en: "%d members report so much that not all of their sightings count.", de: "%d Mitglieder melden so viel, dass nicht alle ihre Sichtungen zählen.", en1: "%d member reports so much that not all of its sightings count.", de1: "%d Mitglied meldet so viel, dass nicht alle seine Sichtungen zählen."},
	ReportListsCut:    {en: "Of long lists only the newest count here.", de: "Von langen Listen zählt hier nur das Neueste."},
	ReportShortened:   {en: "… marks what is shortened; watchward situation has it whole. Behind a time is the beginning of its notice's id.", de: "… zeigt Gekürztes; ganz steht es in watchward situation. Hinter einer Zeit steht der Anfang der Kennung der Meldung."},
	ReportPrint:       {en: "Fingerprint of the sources, SHA-256 over the ids of all notices: %s. Who holds the same notices gets the same; watchward situation --format json has the ids.", de: "Fingerabdruck der Quellen, SHA-256 über die Kennungen aller Meldungen: %s. Wer dieselben Meldungen hat, erhält denselben; die Kennungen stehen in watchward situation --format json."},
	ReportAssessment:  {en: "Assessment and decisions (by hand)", de: "Bewertung und Entscheidungen (von Hand)"},
	ReportSignName:    {en: "Name, function", de: "Name, Funktion"},
	ReportSignPlace:   {en: "Place, date, time", de: "Ort, Datum, Uhrzeit"},
	ReportSignature:   {en: "Signature", de: "Unterschrift"},
}
