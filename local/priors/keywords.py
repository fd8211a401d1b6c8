"""Words of descriptions by category, in the languages of some markets: what the text model knows before it learns.

Common nouns of statements in English, Spanish, German, French, Italian, Polish and Czech, and names that everybody
there knows. A word of less than three letters says nothing; order and repetition make no difference.
"""

from __future__ import annotations

from schemas.categories import Category

KEYWORDS: dict[Category, str] = {
    Category.GROCERIES: """grocery groceries supermarket supermercado supermarkt supermarche supermercato
        mercado market mercadona carrefour lidl aldi tesco rewe edeka kaufland spar biedronka zabka albert billa
        penny auchan dia intermarche sainsbury asda morrisons eroski netto coop bakery panaderia bäckerei
        boulangerie piekarnia fruteria frutas butcher metzgerei carniceria""",
    Category.RESTAURANTS: """restaurant restaurante restauracja restaurace ristorante trattoria pizzeria pizza
        sushi burger mcdonalds mcdonald kfc subway starbucks cafe café coffee kaffee kebab doner bistro tapas
        grill diner ramen taqueria dominos glovo deliveroo lieferando wolt ubereats takeaway gelato""",
    Category.BARS: "pub cerveceria brewery brauhaus cocktail tavern taverna nightclub discoteca biergarten kneipe",
    Category.FUEL: """petrol gasolinera gasolina tankstelle fuel diesel shell repsol cepsa esso aral total eni
        agip orlen omv benzina carburant galp texaco""",
    Category.PUBLIC_TRANSPORT: """metro bus tram train railway rail renfe bahn deutschebahn sncf trenitalia ratp
        bvg mvg tfl transit pkp cercanias transport transporte autobus fahrkarte ticketautomat dpp""",
    Category.TAXIS: "taxi uber cabify bolt freenow lyft cab",
    Category.CAR: """parking parkhaus aparcamiento autopista toll peaje maut garage taller werkstatt carwash
        autolavado tyres neumaticos reifen autoteile midas norauto euromaster carglass parken vinci dealership""",
    Category.AIRLINES: """airline airlines airways ryanair easyjet lufthansa iberia vueling wizzair klm
        airfrance eurowings flight vuelo flug aeroflot norwegian turkish emirates qatar""",
    Category.LODGING: """hotel hostel airbnb booking marriott hilton accor ibis melia motel pension lodge
        camping parador hostal""",
    Category.TRAVEL: """travel viajes reisen reisebüro tui expedia edreams cruise crucero hertz avis sixt
        europcar rentacar autovermietung ferry""",
    Category.HEALTH: """pharmacy farmacia apotheke pharmacie apteka lekarna doctor arzt clinica clinic klinik
        hospital dentist dental dentista zahnarzt optician optica fysio physiotherapy praxis medical""",
    Category.BEAUTY: """hairdresser peluqueria friseur coiffeur salon beauty cosmetics sephora douglas spa nails
        barber barberia kosmetik parfumerie""",
    Category.CLOTHING: """clothes clothing fashion moda mode zara mango primark shoes zapatos schuhe textil
        zalando uniqlo bershka peek cortefiel deichmann boutique stradivarius""",
    Category.ELECTRONICS: """electronics electronica elektronik mediamarkt saturn fnac currys apple samsung
        xiaomi computer pccomponentes notebooksbilliger worten euronics electro""",
    Category.GAMES: """steam playstation xbox nintendo epicgames epic blizzard riot twitch roblox gaming game
        games arcade gog ubisoft supercell""",
    Category.DIGITAL_MEDIA: """netflix spotify disney hbo youtube audible deezer dazn tidal itunes googleplay
        streaming crunchyroll streamly patreon""",
    Category.BOOKS: """book books bookshop libreria buchhandlung librairie thalia waterstones ksiegarnia
        knihkupectvi newspaper zeitung periodico kiosk bookbarn""",
    Category.GAMBLING: """casino bet betting apuestas bwin bet365 betfair poker pokerstars lottery loteria lotto
        tipico sportwetten bingo unibet codere williamhill lotterie paddypower""",
    Category.EDUCATION: """school escuela schule university universidad universität universite college tuition
        matricula academy academia udemy coursera course curso kurs studienbeitrag semester""",
    Category.CHILDREN: """toys juguetes spielzeug kindergarten guarderia kita nursery creche childcare baby
        babyshop toysrus smyths prenatal lego jouets zabawki""",
    Category.PETS: """pet pets petshop vet veterinary veterinario tierarzt veterinaire mascotas kiwoko fressnapf
        zooplus tiendanimal zoohandlung animalerie maxizoo weterynarz petco petsmart""",
    Category.SPORT: """gym gimnasio fitness fitnessstudio sport sports deporte decathlon intersport mcfit
        crossfit yoga pilates climbing golf tennis padel swimming schwimmbad basicfit bicycle""",
    Category.CULTURE: """cinema cine kino theatre teatro theater museum museo concert concierto konzert
        ticketmaster eventim opera festival aquarium entradas ticketek""",
    Category.HOME_IMPROVEMENT: """hardware diy bricolage baumarkt obi hornbach bauhaus toom leroy merlin
        castorama ferreteria paint pintura plumber fontanero electrician handwerker bricomart screwfix""",
    Category.FURNITURE: """furniture muebles möbel meubles ikea conforama mattress matratzen xxxlutz höffner
        wayfair jysk maisonsdumonde""",
    Category.GARDEN: "garden gardening jardin jardineria gartencenter gärtnerei vivero dehner plants",
    Category.UTILITIES: """electricity electricidad strom gas energy energia water agua wasser iberdrola endesa
        naturgy vattenfall eon edf engie stadtwerke utilities heating canal""",
    Category.TELECOM: """telecom movistar vodafone orange telefonica telekom tmobile mobile mobil internet
        broadband fibra phone jazztel yoigo congstar""",
    Category.INSURANCE: """insurance seguro seguros versicherung assurance mapfre allianz axa generali huk mutua
        zurich ubezpieczenie""",
    Category.HOUSING: "rent alquiler miete loyer landlord comunidad hausgeld nebenkosten czynsz",
    Category.TRANSFERS: """transfer transferencia überweisung virement bizum paypal revolut wise przelew
        bonifico zelle venmo remittance westernunion exchange currency repayment prestamo loan""",
    Category.CASH: "atm cash cajero geldautomat withdrawal retrait bankomat distributeur prelievo bancomat",
    Category.CHARITY: """charity donation donacion spende donativo unicef caritas redcross cruzroja oxfam
        greenpeace wwf amnesty foundation ngo croixrouge dkms""",
    Category.ONLINE_RETAIL: """amazon ebay aliexpress allegro temu shein etsy otto wish vinted wallapop paketo
        alibaba cdiscount bol""",
    Category.DEPARTMENT_STORES: "corteingles galeria kaufhof karstadt tedi woolworth lafayette",
    Category.JEWELLERY: "jewellery jewelry joyeria juwelier bijouterie pandora swarovski tous rolex watches",
    Category.TOBACCO: "tobacco estanco tabak tabac tabacos vape trafik",
    Category.GOVERNMENT: """tax taxes hacienda finanzamt ayuntamiento fine multa tribut impuesto steuer
        municipal impots passport""",
    Category.SERVICES: "laundry tintoreria lawyer abogado notary notaria steuerberater cleaning consulting accountant",
    Category.HOBBIES: """crafts manualidades florist floristeria blumen music instruments thomann stationery
        gifts antiques""",
    Category.FARMING: "agro agricultural semillas fertilizer feed pienso cooperativa landhandel raiffeisen tractor",
}
