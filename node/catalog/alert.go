package catalog

// Alerts that are told in chats, mails and the digest.
const (
	AlertReportDue     Key = "alert.report-due"
	AlertReportOverdue Key = "alert.report-overdue"
	AlertFiling        Key = "alert.filing"
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
}
