package catalog

// Texts of exercises: alerts, and what came of one.
const (
	DrillMark      Key = "drill.mark"
	DrillHeard     Key = "drill.heard" // member
	DrillHeardMore Key = "drill.heard.more"
	DrillEnded     Key = "drill.ended" // name
	DrillUnnamed   Key = "drill.unnamed"
	DrillTitle     Key = "drill.title" // name, from, to
	DrillRuns      Key = "drill.runs"
	DrillSaid      Key = "drill.said"
	DrillMember    Key = "drill.member"
	DrillReached   Key = "drill.reached"
	DrillSaw       Key = "drill.saw"
	DrillAnswered  Key = "drill.answered"
	DrillActed     Key = "drill.acted"
	DrillOf        Key = "drill.of" // how many, of how many
	DrillDeeds     Key = "drill.deeds"
	DrillAt        Key = "drill.at"
	DrillWhat      Key = "drill.what"
	DrillSilent    Key = "drill.silent" // count
	DrillMore      Key = "drill.more"   // count
	DrillNothing   Key = "drill.nothing"
	DrillNotKnown  Key = "drill.not-known"
)

var drillTexts = texts{
	DrillMark: {en: "EXERCISE: %s", de: "ÜBUNG (EXERCISE): %s"},
	DrillHeard: {
		en: "EXERCISE: %s holds an exercise. What is marked EXERCISE is not real; a mayday always is. To take part, so that what you say is marked too: watchward exercise start. What is said: watchward situation, watchward list",
		de: "ÜBUNG (EXERCISE): %s hält eine Übung ab. Was mit EXERCISE gekennzeichnet ist, ist nicht echt; ein Notruf (mayday) ist es immer. Zum Mitmachen, damit auch Ihre Meldungen gekennzeichnet sind: watchward exercise start. Was gemeldet wird: watchward situation, watchward list",
	},
	DrillHeardMore: {
		en: "EXERCISE: more members hold exercises today: watchward situation",
		de: "ÜBUNG (EXERCISE): Heute halten weitere Mitglieder Übungen ab: watchward situation",
	},
	DrillEnded: {
		en: "The exercise %s has ended by itself: its time was over. What this node says is real again. Who did what: watchward exercise show",
		de: "Die Übung %s ist von selbst zu Ende gegangen: Ihre Zeit war um. Was dieser Knoten meldet, ist wieder echt. Wer was getan hat: watchward exercise show",
	},
	DrillUnnamed:  {en: "without a name", de: "ohne Namen"},
	DrillTitle:    {en: "EXERCISE %s, from %s to %s", de: "ÜBUNG (EXERCISE) %s, von %s bis %s"},
	DrillRuns:     {en: "now; it goes on", de: "jetzt; sie läuft noch"},
	DrillSaid:     {en: "This hospital said", de: "Dieses Haus meldete"},
	DrillMember:   {en: "member", de: "Mitglied"},
	DrillReached:  {en: "reached", de: "erreicht"},
	DrillSaw:      {en: "saw", de: "gesehen"},
	DrillAnswered: {en: "answered", de: "geantwortet"},
	DrillActed:    {en: "acted", de: "gehandelt"},
	DrillOf:       {en: "%d of %d", de: "%d von %d"},
	DrillDeeds:    {en: "What they did", de: "Was sie taten"},
	DrillAt:       {en: "when", de: "wann"},
	DrillWhat:     {en: "what", de: "was"},
	DrillSilent: {
		en: "%d members gave no sign", en1: "%d member gave no sign",
		de: "%d Mitglieder gaben kein Zeichen", de1: "%d Mitglied gab kein Zeichen",
	},
	DrillMore: {
		en: "%d more words had no room here: watchward list", en1: "%d more word had no room here: watchward list",
		de: "%d weitere Meldungen hatten hier keinen Platz: watchward list", de1: "%d weitere Meldung hatte hier keinen Platz: watchward list",
	},
	DrillNothing:  {en: "nothing", de: "nichts"},
	DrillNotKnown: {en: "not known", de: "nicht bekannt"},
}
