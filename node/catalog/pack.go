package catalog

const (
	PackTitle         Key = "pack.title"
	PackMade          Key = "pack.made"
	PackIntro         Key = "pack.intro"
	PackFirst         Key = "pack.first"
	PackFirstNote     Key = "pack.first-note"
	PackFirst1        Key = "pack.first-1"
	PackFirst2        Key = "pack.first-2"
	PackFirst3        Key = "pack.first-3"
	PackFirst4        Key = "pack.first-4"
	PackFirst5        Key = "pack.first-5"
	PackFirst6        Key = "pack.first-6"
	PackFirst7        Key = "pack.first-7"
	PackFirst8        Key = "pack.first-8"
	PackFirst9        Key = "pack.first-9"
	PackContents      Key = "pack.contents"
	PackPart          Key = "pack.part"
	PackWhat          Key = "pack.what"
	PackWhen          Key = "pack.when"
	PackContacts      Key = "pack.contacts"
	PackContactsWhen  Key = "pack.contacts-when"
	PackContactsNote  Key = "pack.contacts-note"
	PackCoordinators  Key = "pack.coordinators"
	PackOthers        Key = "pack.others"
	PackCoordinator   Key = "pack.coordinator"
	PackHospital      Key = "pack.hospital"
	PackBridge        Key = "pack.bridge"
	PackVendor        Key = "pack.supplier"
	PackRole          Key = "pack.role"
	PackSelf          Key = "pack.self"
	PackOwn           Key = "pack.own"
	PackOwnNote       Key = "pack.own-note"
	PackPhone         Key = "pack.phone"
	PackReach         Key = "pack.reach"
	PackReachWhen     Key = "pack.reach-when"
	PackByPhone       Key = "pack.by-phone"
	PackByPhone1      Key = "pack.by-phone-1"
	PackByPhone2      Key = "pack.by-phone-2"
	PackByPhone3      Key = "pack.by-phone-3"
	PackByStick       Key = "pack.by-stick"
	PackByStick1      Key = "pack.by-stick-1"
	PackByStick2      Key = "pack.by-stick-2"
	PackByStick3      Key = "pack.by-stick-3"
	PackByLine        Key = "pack.by-line"
	PackByLine1       Key = "pack.by-line-1"
	PackByLine2       Key = "pack.by-line-2"
	PackAddresses     Key = "pack.addresses"
	PackAddress       Key = "pack.address"
	PackNewNode       Key = "pack.new-node"
	PackNewNode1      Key = "pack.new-node-1"
	PackNewNode2      Key = "pack.new-node-2"
	PackPicture       Key = "pack.picture"
	PackPictureWhen   Key = "pack.picture-when"
	PackPictureOld    Key = "pack.picture-old"
	PackNothing       Key = "pack.nothing"
	PackForms         Key = "pack.forms"
	PackFormsWhen     Key = "pack.forms-when"
	PackEarly         Key = "pack.early"
	PackNotify        Key = "pack.notify"
	PackFinal         Key = "pack.final"
	PackArticle       Key = "pack.article"
	PackEntity        Key = "pack.entity"
	PackEntityHint    Key = "pack.entity-hint"
	PackAwareAt       Key = "pack.aware-at"
	PackAwareHint     Key = "pack.aware-hint"
	PackSentTo        Key = "pack.sent-to"
	PackReachable     Key = "pack.reachable"
	PackMalicious     Key = "pack.malicious"
	PackCrossBorder   Key = "pack.cross-border"
	PackYes           Key = "pack.yes"
	PackNo            Key = "pack.no"
	PackNotKnown      Key = "pack.not-known"
	PackHappened      Key = "pack.happened"
	PackWantHelp      Key = "pack.want-help"
	PackUpdate        Key = "pack.update"
	PackSeverity      Key = "pack.severity"
	PackSev1          Key = "pack.sev-1"
	PackSev2          Key = "pack.sev-2"
	PackSev3          Key = "pack.sev-3"
	PackImpact        Key = "pack.impact"
	PackImpactHint    Key = "pack.impact-hint"
	PackIndicators    Key = "pack.indicators"
	PackMeasures      Key = "pack.measures"
	PackDetailed      Key = "pack.detailed"
	PackRootCause     Key = "pack.root-cause"
	PackCrossImpact   Key = "pack.cross-impact"
	PackOngoing       Key = "pack.ongoing"
	PackPaper         Key = "pack.paper"
	PackPaperWhen     Key = "pack.paper-when"
	PackLog           Key = "pack.log"
	PackLogNote       Key = "pack.log-note"
	PackTime          Key = "pack.time"
	PackEvent         Key = "pack.event"
	PackBy            Key = "pack.by"
	PackCalls         Key = "pack.calls"
	PackCallsNote     Key = "pack.calls-note"
	PackMayday        Key = "pack.mayday"
	PackHelp          Key = "pack.help"
	PackLink          Key = "pack.link"
	PackService       Key = "pack.service"
	PackSlip          Key = "pack.slip"
	PackFromTo        Key = "pack.from-to"
	PackSeen          Key = "pack.seen"
	PackBroken        Key = "pack.broken"
	PackCallBack      Key = "pack.call-back"
	PackWanted        Key = "pack.wanted"
	PackOffered       Key = "pack.offered"
	PackNeed          Key = "pack.need"
	PackLinkWhat      Key = "pack.link-what"
	PackLinkWhy       Key = "pack.link-why"
	PackDept          Key = "pack.dept"
	PackOpen          Key = "pack.open"
	PackDiverted      Key = "pack.diverted"
	PackClosed        Key = "pack.closed"
	PackSlipWhat      Key = "pack.slip-what"
	PackPlaybooks     Key = "pack.playbooks"
	PackPlaybooksWhen Key = "pack.playbooks-when"
	PackPlaybooksNote Key = "pack.playbooks-note"
	PackNoPlaybooks   Key = "pack.no-playbooks"
	PackDocument      Key = "pack.document"
	PackFile          Key = "pack.file"
	PackTrouble       Key = "pack.trouble"
	PackFull          Key = "pack.full"
	PackReadOnly      Key = "pack.read-only"
	PackForbidden     Key = "pack.forbidden"
	PackMissing       Key = "pack.missing"
	PackFailed        Key = "pack.failed"
	PackStillThere    Key = "pack.still-there"
	PackNoneThere     Key = "pack.none-there"
)

var packTexts = texts{
	PackTitle:         {en: "Offline pack: %s", de: "Notfallmappe: %s"},
	PackMade:          {en: "Made on %s; a new one every %s", de: "Erstellt am %s; eine neue alle %s"},
	PackIntro:         {en: "For the hour in which computers do not help. Print it, and keep it where it is found in the dark.", de: "Für die Stunde, in der Computer nicht helfen. Ausdrucken und dort aufbewahren, wo man sie im Dunkeln findet."},
	PackFirst:         {en: "The first hour", de: "Die erste Stunde"},
	PackFirstNote:     {en: "tick what is done, write the time beside it", de: "abhaken, Uhrzeit daneben schreiben"},
	PackFirst1:        {en: "Write down when you became aware of it. The clock of NIS2 begins then: 24 hours to the early warning (D1), 72 hours to the notification (D2). Aware at: ______________________", de: "Aufschreiben, wann Sie davon erfahren haben. Dann beginnt die Uhr der NIS2: 24 Stunden bis zur Frühwarnung (D1), 72 Stunden bis zur Meldung (D2). Kenntnis um: ______________________"},
	PackFirst2:        {en: "Take what is affected off the network: pull cables, switch Wi-Fi off. Leave machines on: what is in their memory is evidence.", de: "Betroffenes vom Netz nehmen: Kabel ziehen, WLAN aus. Geräte eingeschaltet lassen: Was im Speicher steht, ist ein Beweis."},
	PackFirst3:        {en: "Begin the log (E1), and keep it until it is over.", de: "Das Protokoll beginnen (E1) und führen, bis es vorbei ist."},
	PackFirst4:        {en: "Call a coordinator (A): who you are, what you see, what no longer works. Call only numbers in this pack, and let yourself be called back on yours.", de: "Die Koordination anrufen (A): wer Sie sind, was Sie sehen, was nicht mehr geht. Nur Nummern aus dieser Mappe wählen und sich auf der eigenen zurückrufen lassen."},
	PackFirst5:        {en: "Raise the alarm from any machine on which the node still runs: watchward mayday \"what happened\". It needs no e-mail, no name service and no central server. If no node runs, form E2 by telephone.", de: "Alarm geben, von jedem Rechner, auf dem der Knoten noch läuft: watchward mayday \"was geschehen ist\". Das braucht keine E-Mail, keinen Namensdienst und keinen zentralen Server. Läuft kein Knoten, Formular E2 am Telefon."},
	PackFirst6:        {en: "Cut links to suppliers and partners that could carry it on, and note each (E4): when, by whom, and what must hold before it is connected again.", de: "Verbindungen zu Lieferanten und Partnern trennen, über die es weitergehen könnte, und jede notieren (E4): wann, durch wen, und was gelten muss, bevor sie wieder verbunden wird."},
	PackFirst7:        {en: "Say which departments are closed or diverted: to the dispatch centre, and by watchward service set, or E5 by telephone.", de: "Melden, welche Abteilungen geschlossen oder abgemeldet sind: der Leitstelle, und mit watchward service set oder E5 am Telefon."},
	PackFirst8:        {en: "Ask for help early (E3). What C lists as offered is there to be taken.", de: "Früh um Hilfe bitten (E3). Was in C angeboten ist, darf man nehmen."},
	PackFirst9:        {en: "Keep the ransom note, and tell nobody outside what is demanded. Delete, reinstall and restore only when evidence is saved.", de: "Das Erpresserschreiben aufbewahren und niemandem draußen sagen, was gefordert wird. Löschen, neu aufsetzen und zurückspielen erst, wenn die Beweise gesichert sind."},
	PackContents:      {en: "What is in this pack", de: "Was in dieser Mappe ist"},
	PackPart:          {en: "part", de: "Teil"},
	PackWhat:          {en: "what it is", de: "was es ist"},
	PackWhen:          {en: "when you need it", de: "wann man es braucht"},
	PackContacts:      {en: "Contacts", de: "Kontakte"},
	PackContactsWhen:  {en: "to reach coordinators and the other hospitals by telephone", de: "Koordination und andere Häuser telefonisch erreichen"},
	PackContactsNote:  {en: "As each member told them under its signature. Coordinators first.", de: "Wie sie jedes Mitglied unter seiner Signatur mitgeteilt hat. Koordination zuerst."},
	PackCoordinators:  {en: "Coordinators", de: "Koordination"},
	PackOthers:        {en: "The other members", de: "Die anderen Mitglieder"},
	PackCoordinator:   {en: "coordinator", de: "Koordination"},
	PackHospital:      {en: "hospital", de: "Krankenhaus"},
	PackBridge:        {en: "bridge", de: "Brücke"},
	PackVendor:        {en: "supplier", de: "Lieferant"},
	PackRole:          {en: "role", de: "Rolle"},
	PackSelf:          {en: "this house", de: "dieses Haus"},
	PackOwn:           {en: "Our own numbers (by hand)", de: "Unsere eigenen Nummern (von Hand)"},
	PackOwnNote:       {en: "staff recall, management, dispatch centre, police, insurer, forensics: fill in before you need it", de: "Alarmierung des Personals, Leitung, Leitstelle, Polizei, Versicherung, Forensik: vorher ausfüllen"},
	PackPhone:         {en: "telephone, without the house's own exchange", de: "Telefon, ohne die Anlage des Hauses"},
	PackReach:         {en: "To reach the others without a network", de: "Die anderen ohne Netz erreichen"},
	PackReachWhen:     {en: "when e-mail, internet or the node are gone", de: "wenn E-Mail, Internet oder der Knoten weg sind"},
	PackByPhone:       {en: "By telephone", de: "Per Telefon"},
	PackByPhone1:      {en: "Call the number in part A, not one that a caller gives. Who calls you is called back.", de: "Die Nummer aus Teil A wählen, nicht eine, die ein Anrufer nennt. Wer anruft, wird zurückgerufen."},
	PackByPhone2:      {en: "Read from the forms of part E, and let the other side read it back. Note time and name.", de: "Aus den Formularen von Teil E vorlesen und sich zurücklesen lassen. Uhrzeit und Namen notieren."},
	PackByPhone3:      {en: "Compare the fingerprint at the head of this page: with the same, both have the same report in hand.", de: "Den Fingerabdruck oben auf dieser Seite vergleichen: Ist er gleich, haben beide denselben Bericht in der Hand."},
	PackByStick:       {en: "By USB stick", de: "Per USB-Stick"},
	PackByStick1:      {en: "On a node that still runs: watchward export --bundle -o /media/stick --since 30d", de: "An einem Knoten, der noch läuft: watchward export --bundle -o /media/stick --since 30d"},
	PackByStick2:      {en: "Anybody may carry it: every word is under its author's signature, and what is for the region alone is sealed. Put a slip (E6) with it.", de: "Jeder darf ihn tragen: Jedes Wort steht unter der Signatur seines Urhebers, und was nur für die Region ist, ist versiegelt. Einen Laufzettel (E6) beilegen."},
	PackByStick3:      {en: "At the other hospital: watchward import and the files on the stick. In any order, as often as you like; what is known already does no harm.", de: "Im anderen Haus: watchward import und die Dateien auf dem Stick. In jeder Reihenfolge, beliebig oft; was schon bekannt ist, schadet nicht."},
	PackByLine:        {en: "By another line", de: "Über eine andere Leitung"},
	PackByLine1:       {en: "A mobile telephone, a router with a SIM card or a neighbour's line is enough. The node dials out alone: no port must be opened for it.", de: "Ein Mobiltelefon, ein Router mit SIM-Karte oder die Leitung der Nachbarn genügt. Der Knoten wählt nur hinaus: Kein Port muss dafür geöffnet werden."},
	PackByLine2:       {en: "It needs no name service if it knows an address. In config.toml, under [mesh], put what stands below into seeds = [\"…\"], and start it anew.", de: "Er braucht keinen Namensdienst, wenn er eine Adresse kennt. In config.toml unter [mesh] das, was unten steht, in seeds = [\"…\"] eintragen und neu starten."},
	PackAddresses:     {en: "Addresses of nodes that can be dialled", de: "Adressen von Knoten, die man anwählen kann"},
	PackAddress:       {en: "address", de: "Adresse"},
	PackNewNode:       {en: "With a new machine", de: "Mit einem neuen Rechner"},
	PackNewNode1:      {en: "If no node is left: a clean laptop, the program from another hospital, and an invitation by a coordinator (watchward join). It takes minutes, and you hear the others again.", de: "Wenn kein Knoten mehr da ist: ein sauberer Laptop, das Programm aus einem anderen Haus und eine Einladung der Koordination (watchward join). Das dauert Minuten, dann hören Sie die anderen wieder."},
	PackNewNode2:      {en: "Tell the coordinator that the old keys may be stolen: they revoke them.", de: "Der Koordination sagen, dass die alten Schlüssel gestohlen sein können: Sie widerruft sie."},
	PackPicture:       {en: "The situation when this was made", de: "Die Lage, als dies erstellt wurde"},
	PackPictureWhen:   {en: "links that are cut, help that is offered and asked for, who is affected", de: "getrennte Verbindungen, angebotene und erbetene Hilfe, wer betroffen ist"},
	PackPictureOld:    {en: "It was so on %s. Ask by telephone what has changed.", de: "So war es am %s. Telefonisch fragen, was sich geändert hat."},
	PackNothing:       {en: "Nothing of the kind is known.", de: "Nichts dergleichen ist bekannt."},
	PackForms:         {en: "NIS2: what is owed to the authority", de: "NIS2: was der Behörde geschuldet ist"},
	PackFormsWhen:     {en: "within 24 hours, 72 hours and a month of becoming aware", de: "binnen 24 Stunden, 72 Stunden und eines Monats ab Kenntnis"},
	PackEarly:         {en: "D1 Early warning, within 24 hours", de: "D1 Frühwarnung, binnen 24 Stunden"},
	PackNotify:        {en: "D2 Notification, within 72 hours", de: "D2 Meldung, binnen 72 Stunden"},
	PackFinal:         {en: "D3 Final report, within a month of the notification", de: "D3 Abschlussbericht, binnen eines Monats nach der Meldung"},
	PackArticle:       {en: "NIS2 Directive, Article 23(4). \"Unknown\" is an answer. What is demanded as ransom is in none of these forms.", de: "NIS2-Richtlinie, Artikel 23 Absatz 4. „Unbekannt“ ist eine Antwort. Was als Lösegeld gefordert wird, steht in keinem dieser Formulare."},
	PackEntity:        {en: "Entity", de: "Einrichtung"},
	PackEntityHint:    {en: "%s; address, register number", de: "%s; Anschrift, Registernummer"},
	PackAwareAt:       {en: "Became aware at", de: "Kenntnis erlangt am"},
	PackAwareHint:     {en: "date, time, zone; it is not changed later. Add 24 h for D1, 72 h for D2", de: "Datum, Uhrzeit, Zone; wird nie geändert. Plus 24 Std. für D1, 72 Std. für D2"},
	PackSentTo:        {en: "Sent to, at, by, confirmed by", de: "Gesendet an, um, durch, bestätigt von"},
	PackReachable:     {en: "Reachable for questions", de: "Für Rückfragen erreichbar"},
	PackMalicious:     {en: "Suspected to be caused by unlawful or malicious acts?", de: "Verdacht auf rechtswidrige oder böswillige Handlungen?"},
	PackCrossBorder:   {en: "Could it have an impact across borders?", de: "Mögliche grenzüberschreitende Auswirkungen?"},
	PackYes:           {en: "yes", de: "ja"},
	PackNo:            {en: "no", de: "nein"},
	PackNotKnown:      {en: "unknown", de: "unbekannt"},
	PackHappened:      {en: "What happened, in a few sentences", de: "Was geschehen ist, in wenigen Sätzen"},
	PackWantHelp:      {en: "Guidance or support is asked for", de: "Rat oder Unterstützung wird erbeten"},
	PackUpdate:        {en: "What has changed since the early warning", de: "Was sich seit der Frühwarnung geändert hat"},
	PackSeverity:      {en: "Severity, a first assessment", de: "Schwere, erste Bewertung"},
	PackSev1:          {en: "care endangered", de: "Versorgung gefährdet"},
	PackSev2:          {en: "care limited", de: "Versorgung eingeschränkt"},
	PackSev3:          {en: "no effect on care", de: "Versorgung unberührt"},
	PackImpact:        {en: "Impact", de: "Auswirkungen"},
	PackImpactHint:    {en: "departments, patients, systems, data, since when, expected until", de: "Abteilungen, Patienten, Systeme, Daten, seit wann, voraussichtlich bis"},
	PackIndicators:    {en: "Indicators of compromise, where available", de: "Kompromittierungsindikatoren, soweit verfügbar"},
	PackMeasures:      {en: "Measures taken and going on", de: "Getroffene und laufende Maßnahmen"},
	PackDetailed:      {en: "Detailed description, with severity and impact", de: "Ausführliche Beschreibung mit Schwere und Auswirkungen"},
	PackRootCause:     {en: "Type of threat, or root cause that likely triggered it", de: "Art der Bedrohung oder wahrscheinliche Ursache"},
	PackCrossImpact:   {en: "Cross-border impact, where it had one", de: "Grenzüberschreitende Auswirkungen, falls es solche gab"},
	PackOngoing:       {en: "If it is not over then: a progress report now, and the final one within a month of its end", de: "Falls dann noch nicht vorbei: jetzt ein Fortschrittsbericht, der Abschluss binnen eines Monats nach dem Ende"},
	PackPaper:         {en: "Forms for paper and telephone", de: "Formulare für Papier und Telefon"},
	PackPaperWhen:     {en: "to keep a log, to say by telephone what the node would say", de: "Protokoll führen; am Telefon sagen, was der Knoten sagen würde"},
	PackLog:           {en: "E1 Log", de: "E1 Protokoll"},
	PackLogNote:       {en: "One line for each event, decision and call. Copy this page.", de: "Eine Zeile für jedes Ereignis, jede Entscheidung, jeden Anruf. Seite kopieren."},
	PackTime:          {en: "date, time", de: "Datum, Uhrzeit"},
	PackEvent:         {en: "what happened or was decided", de: "was geschah oder entschieden wurde"},
	PackBy:            {en: "by whom", de: "durch wen"},
	PackCalls:         {en: "E2 to E6 By telephone and by hand", de: "E2 bis E6 Am Telefon und von Hand"},
	PackCallsNote:     {en: "Read out, let it be read back, note time and name. Who has a node enters it later.", de: "Vorlesen, zurücklesen lassen, Uhrzeit und Namen notieren. Wer einen Knoten hat, trägt es nach."},
	PackMayday:        {en: "E2 Under attack (watchward mayday)", de: "E2 Unter Angriff (watchward mayday)"},
	PackHelp:          {en: "E3 Help wanted or offered (watchward assist)", de: "E3 Hilfe gesucht oder angeboten (watchward assist)"},
	PackLink:          {en: "E4 Link cut or restored (watchward link)", de: "E4 Verbindung getrennt oder wieder verbunden (watchward link)"},
	PackService:       {en: "E5 Department (watchward service set)", de: "E5 Abteilung (watchward service set)"},
	PackSlip:          {en: "E6 Slip for a stick", de: "E6 Laufzettel für einen Stick"},
	PackFromTo:        {en: "From, to, time, name of who took it down", de: "Von, an, Uhrzeit, Name des Aufnehmenden"},
	PackSeen:          {en: "What you see, since when", de: "Was Sie sehen, seit wann"},
	PackBroken:        {en: "What no longer works, who is in danger", de: "Was nicht mehr geht, wer gefährdet ist"},
	PackCallBack:      {en: "Call back on", de: "Rückruf unter"},
	PackWanted:        {en: "wanted", de: "gesucht"},
	PackOffered:       {en: "offered", de: "angeboten"},
	PackNeed:          {en: "What, how many, until when, where to", de: "Was, wie viel, bis wann, wohin"},
	PackLinkWhat:      {en: "Supplier, link, direction, cut or restored at", de: "Lieferant, Verbindung, Richtung, getrennt oder verbunden um"},
	PackLinkWhy:       {en: "Why, by whom; reconnect when; attested by", de: "Grund, durch wen; wieder verbinden, wenn; bestätigt von"},
	PackDept:          {en: "Department, until when, where to instead", de: "Abteilung, bis wann, wohin stattdessen"},
	PackOpen:          {en: "open", de: "offen"},
	PackDiverted:      {en: "diverted", de: "abgemeldet"},
	PackClosed:        {en: "closed", de: "geschlossen"},
	PackSlipWhat:      {en: "From, to, files, written at, carried by, taken in at", de: "Von, an, Dateien, geschrieben um, getragen von, eingelesen um"},
	PackPlaybooks:     {en: "Playbooks", de: "Handlungsanleitungen"},
	PackPlaybooksWhen: {en: "what to do, as the region agreed on it", de: "was zu tun ist, wie es die Region vereinbart hat"},
	PackPlaybooksNote: {en: "Files beside this page, in the folder playbooks: print them as well. The number tells that a file is the right one (sha256sum).", de: "Dateien neben dieser Seite, im Ordner playbooks: auch ausdrucken. An der Zahl erkennt man, dass eine Datei die richtige ist (sha256sum)."},
	PackNoPlaybooks:   {en: "There are none: playbooks come with the advisories of the region.", de: "Es gibt keine: Handlungsanleitungen kommen mit den Hinweisen der Region."},
	PackDocument:      {en: "document", de: "Dokument"},
	PackFile:          {en: "file", de: "Datei"},
	PackTrouble:       {en: "The offline pack was not written to %s: %s. %s", de: "Die Notfallmappe wurde nicht nach %s geschrieben: %s. %s"},
	PackFull:          {en: "the disk is full: make room there, or choose another [pack] dir", de: "der Datenträger ist voll: dort Platz schaffen oder ein anderes [pack] dir wählen"},
	PackReadOnly:      {en: "it can only be read there, not written: make it writable, or choose another [pack] dir", de: "dort lässt sich nur lesen, nicht schreiben: beschreibbar machen oder ein anderes [pack] dir wählen"},
	PackForbidden:     {en: "this user may not write there: give it the right, or choose another [pack] dir", de: "dieser Benutzer darf dort nicht schreiben: ihm das Recht geben oder ein anderes [pack] dir wählen"},
	PackMissing:       {en: "there is no such place: make it or plug it in, or choose another [pack] dir", de: "diesen Ort gibt es nicht: anlegen oder anschließen, oder ein anderes [pack] dir wählen"},
	PackFailed:        {en: "%s: look at that place, or choose another [pack] dir", de: "%s: dort nachsehen oder ein anderes [pack] dir wählen"},
	PackStillThere:    {en: "The pack of %s is still there, whole.", de: "Die Mappe vom %s ist noch da, vollständig."},
	PackNoneThere:     {en: "There is no older pack there.", de: "Eine ältere Mappe gibt es dort nicht."},
}
