package catalog

// Texts of alerts about advisories.
const (
	AlertAdvisory     Key = "alert.advisory"      // type, title, author, what this hospital has, due, id
	AlertAdvisoryDue  Key = "alert.advisory.due"  // day
	AlertAdvisoryMore Key = "alert.advisory.more" // author, how many
	AlertGuidance     Key = "alert.guidance"
	AlertPlaybook     Key = "alert.playbook"
	AlertCompromise   Key = "alert.supplier-compromise"
	AlertHunt         Key = "alert.hunt"
)

var adviceTexts = texts{
	AlertAdvisory: {
		en: "ADVISORY (%[1]s) by %[3]s: %[2]s. It is about what this hospital has: %[4]s.%[5]s Read it: watchward show %[6]s. Then answer: watchward respond %[6]s seen|done|na|help",
		de: "EMPFEHLUNG (%[1]s) von %[3]s: %[2]s. Sie betrifft, was dieses Haus hat: %[4]s.%[5]s Lesen: watchward show %[6]s. Danach antworten: watchward respond %[6]s seen|done|na|help",
	},
	AlertAdvisoryDue: {en: "Due %s.", de: "Fällig am %s."},
	AlertAdvisoryMore: {
		en: "ADVISORY: %[1]s sends more than %[2]d advisories a day about what this hospital has. All of them: watchward list advisory",
		de: "EMPFEHLUNG: %[1]s sendet mehr als %[2]d Empfehlungen am Tag zu dem, was dieses Haus hat. Alle: watchward list advisory",
	},
	AlertGuidance:   {en: "guidance", de: "Anleitung"},
	AlertPlaybook:   {en: "playbook", de: "Ablaufplan"},
	AlertCompromise: {en: "a supplier is compromised", de: "ein Lieferant ist kompromittiert"},
	AlertHunt:       {en: "look for it even if you have patched", de: "suchen, auch wenn gepatcht wurde"},
}
