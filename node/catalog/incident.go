package catalog

// Reports of incidents. What the law says is in the words of its two texts.
const (
	IncidentEarlyWarning    Key = "incident.early-warning"
	IncidentNotification    Key = "incident.notification"
	IncidentProgress        Key = "incident.progress"
	IncidentFinal           Key = "incident.final"
	IncidentLawEarlyWarning Key = "incident.law.early-warning"
	IncidentLawNotification Key = "incident.law.notification"
	IncidentLawProgress     Key = "incident.law.progress"
	IncidentLawFinal        Key = "incident.law.final"
	IncidentDraft           Key = "incident.draft"
	IncidentSent            Key = "incident.sent"
	IncidentWho             Key = "incident.who"
	IncidentContact         Key = "incident.contact"
	IncidentNumber          Key = "incident.number"
	IncidentAware           Key = "incident.aware"
	IncidentDue             Key = "incident.due"
	IncidentBegan           Key = "incident.began"
	IncidentHandled         Key = "incident.handled"
	IncidentOngoing         Key = "incident.ongoing"
	IncidentEarlier         Key = "incident.earlier"
	IncidentNone            Key = "incident.none"
	IncidentNoneListed      Key = "incident.none-listed"
	IncidentUnknown         Key = "incident.unknown"
	IncidentYes             Key = "incident.yes"
	IncidentNo              Key = "incident.no"
	IncidentAssessment      Key = "incident.assessment"
	IncidentMalicious       Key = "incident.malicious"
	IncidentCrossBorder     Key = "incident.cross-border"
	IncidentSeverity        Key = "incident.severity"
	IncidentLow             Key = "incident.low"
	IncidentMedium          Key = "incident.medium"
	IncidentHigh            Key = "incident.high"
	IncidentCritical        Key = "incident.critical"
	IncidentDescription     Key = "incident.description"
	IncidentImpact          Key = "incident.impact"
	IncidentCause           Key = "incident.cause"
	IncidentMeasures        Key = "incident.measures"
	IncidentBorders         Key = "incident.borders"
	IncidentIndicators      Key = "incident.indicators"
	IncidentMore            Key = "incident.more"
	IncidentType            Key = "incident.type"
	IncidentValue           Key = "incident.value"
	IncidentFirst           Key = "incident.first"
	IncidentLast            Key = "incident.last"
	IncidentCount           Key = "incident.count"
	IncidentServices        Key = "incident.services"
	IncidentDepartment      Key = "incident.department"
	IncidentWhole           Key = "incident.whole"
	IncidentState           Key = "incident.state"
	IncidentSince           Key = "incident.since"
	IncidentUntil           Key = "incident.until"
	IncidentOpen            Key = "incident.open"
	IncidentDiverted        Key = "incident.diverted"
	IncidentClosed          Key = "incident.closed"
	IncidentLinks           Key = "incident.links"
	IncidentSupplier        Key = "incident.supplier"
	IncidentLink            Key = "incident.link"
	IncidentCut             Key = "incident.cut"
	IncidentRestored        Key = "incident.restored"
	IncidentReason          Key = "incident.reason"
	IncidentAssistance      Key = "incident.assistance"
	IncidentWhat            Key = "incident.what"
	IncidentAt              Key = "incident.at"
	IncidentRequest         Key = "incident.request"
	IncidentOffer           Key = "incident.offer"
	IncidentClaim           Key = "incident.claim"
	IncidentConfirm         Key = "incident.confirm"
	IncidentClose           Key = "incident.close"
	IncidentName            Key = "incident.name"
	IncidentSignature       Key = "incident.signature"
	IncidentSource          Key = "incident.source"
)

var incidentTexts = texts{
	IncidentEarlyWarning:    {en: "Early warning", de: "Frühwarnung"},
	IncidentNotification:    {en: "Incident notification", de: "Meldung des Sicherheitsvorfalls"},
	IncidentProgress:        {en: "Progress report", de: "Fortschrittsbericht"},
	IncidentFinal:           {en: "Final report", de: "Abschlussbericht"},
	IncidentLawEarlyWarning: {en: "Article 23(4)(a) of Directive (EU) 2022/2555 (NIS 2)", de: "Artikel 23 Absatz 4 Buchstabe a der Richtlinie (EU) 2022/2555 (NIS-2)"},
	IncidentLawNotification: {en: "Article 23(4)(b) of Directive (EU) 2022/2555 (NIS 2)", de: "Artikel 23 Absatz 4 Buchstabe b der Richtlinie (EU) 2022/2555 (NIS-2)"},
	IncidentLawProgress:     {en: "Article 23(4)(c) and (e) of Directive (EU) 2022/2555 (NIS 2)", de: "Artikel 23 Absatz 4 Buchstaben c und e der Richtlinie (EU) 2022/2555 (NIS-2)"},
	IncidentLawFinal:        {en: "Article 23(4)(d) of Directive (EU) 2022/2555 (NIS 2)", de: "Artikel 23 Absatz 4 Buchstabe d der Richtlinie (EU) 2022/2555 (NIS-2)"},
	IncidentDraft:           {en: "Draft of %s, not sent", de: "Entwurf vom %s, nicht gesendet"},
	IncidentSent:            {en: "Sent by %s, signed, and sealed for its recipient; drafted %s", de: "Gesendet von %s, signiert und für den Empfänger versiegelt; erstellt am %s"},
	IncidentWho:             {en: "Reporting entity", de: "Meldende Einrichtung"},
	IncidentContact:         {en: "Contact at any hour", de: "Jederzeit erreichbar"},
	IncidentNumber:          {en: "Incident", de: "Vorfall"},
	IncidentAware:           {en: "Became aware", de: "Kenntnis erlangt"},
	IncidentDue:             {en: "This report is due", de: "Diese Meldung ist fällig"},
	IncidentBegan:           {en: "Began", de: "Beginn"},
	IncidentHandled:         {en: "Handled", de: "Bewältigt"},
	IncidentOngoing:         {en: "still going on", de: "dauert noch an"},
	IncidentEarlier:         {en: "Earlier reports", de: "Frühere Meldungen"},
	IncidentNone:            {en: "none", de: "keine"},
	IncidentNoneListed:      {en: "None was stated in the time of the incident.", de: "Für die Zeit des Vorfalls liegt keine Angabe vor."},
	IncidentUnknown:         {en: "unknown", de: "nicht bekannt"},
	IncidentYes:             {en: "yes", de: "ja"},
	IncidentNo:              {en: "no", de: "nein"},
	IncidentAssessment:      {en: "Assessment", de: "Bewertung"},
	IncidentMalicious:       {en: "Suspected of being caused by unlawful or malicious acts", de: "Verdacht auf rechtswidrige oder böswillige Handlungen"},
	IncidentCrossBorder:     {en: "Could have a cross-border impact", de: "Könnte grenzüberschreitende Auswirkungen haben"},
	IncidentSeverity:        {en: "Severity", de: "Schweregrad"},
	IncidentLow:             {en: "low", de: "gering"},
	IncidentMedium:          {en: "medium", de: "mittel"},
	IncidentHigh:            {en: "high", de: "hoch"},
	IncidentCritical:        {en: "critical", de: "kritisch"},
	IncidentDescription:     {en: "What happened", de: "Beschreibung"},
	IncidentImpact:          {en: "Impact", de: "Auswirkungen"},
	IncidentCause:           {en: "Type of threat or root cause", de: "Art der Bedrohung oder Ursache"},
	IncidentMeasures:        {en: "Mitigation measures, taken and ongoing", de: "Getroffene und laufende Abhilfemaßnahmen"},
	IncidentBorders:         {en: "Cross-border impact", de: "Grenzüberschreitende Auswirkungen"},
	IncidentIndicators:      {en: "Indicators of compromise, seen by this hospital", de: "Kompromittierungsindikatoren, im eigenen Haus beobachtet"},
	IncidentMore:            {en: "%d more had no room here.", de: "%d weitere hatten hier keinen Platz."},
	IncidentType:            {en: "Type", de: "Art"},
	IncidentValue:           {en: "Value", de: "Wert"},
	IncidentFirst:           {en: "First seen", de: "Zuerst gesehen"},
	IncidentLast:            {en: "Last seen", de: "Zuletzt gesehen"},
	IncidentCount:           {en: "Times", de: "Anzahl"},
	IncidentServices:        {en: "Services of this hospital", de: "Versorgung durch dieses Krankenhaus"},
	IncidentDepartment:      {en: "Department", de: "Abteilung"},
	IncidentWhole:           {en: "whole hospital", de: "ganzes Krankenhaus"},
	IncidentState:           {en: "State", de: "Zustand"},
	IncidentSince:           {en: "Since", de: "Seit"},
	IncidentUntil:           {en: "Expected until", de: "Voraussichtlich bis"},
	IncidentOpen:            {en: "open", de: "geöffnet"},
	IncidentDiverted:        {en: "diverted", de: "umgeleitet"},
	IncidentClosed:          {en: "closed", de: "geschlossen"},
	IncidentLinks:           {en: "Connections to suppliers", de: "Verbindungen zu Dienstleistern"},
	IncidentSupplier:        {en: "Supplier", de: "Dienstleister"},
	IncidentLink:            {en: "Connection", de: "Verbindung"},
	IncidentCut:             {en: "cut", de: "getrennt"},
	IncidentRestored:        {en: "restored", de: "wiederhergestellt"},
	IncidentReason:          {en: "Reason", de: "Grund"},
	IncidentAssistance:      {en: "Mutual assistance", de: "Gegenseitige Hilfe"},
	IncidentWhat:            {en: "What", de: "Was"},
	IncidentAt:              {en: "When", de: "Wann"},
	IncidentRequest:         {en: "asked for", de: "angefragt"},
	IncidentOffer:           {en: "offered", de: "angeboten"},
	IncidentClaim:           {en: "taken", de: "angenommen"},
	IncidentConfirm:         {en: "confirmed", de: "bestätigt"},
	IncidentClose:           {en: "closed", de: "beendet"},
	IncidentName:            {en: "Name and function", de: "Name und Funktion"},
	IncidentSignature:       {en: "Place, date, signature", de: "Ort, Datum, Unterschrift"},
	IncidentSource:          {en: "Indicators, services, connections and assistance are what this hospital itself stated in Watchward between %s and %s.", de: "Indikatoren, Versorgung, Verbindungen und Hilfe sind eigene Angaben dieses Krankenhauses in Watchward zwischen %s und %s."},
}
